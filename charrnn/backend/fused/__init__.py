"""Compiled kernels for the CPU: its backend, and the kernels by subject."""

from charrnn.backend.fused.backend import FusedBackend

__all__ = ["FusedBackend"]
