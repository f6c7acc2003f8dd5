"""The kernels of a CUDA device: their code, and the Python end that launches them.

Nothing here imports CuPy: whoever makes ``Kernels`` says how code becomes a launch.
"""

from charrnn.backend.cuda.cublas import Cublas
from charrnn.backend.cuda.graphs import CapturedStep
from charrnn.backend.cuda.kernels import Kernels

__all__ = ["CapturedStep", "Cublas", "Kernels"]
