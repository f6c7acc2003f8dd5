"""Benchmarks, ours against PyTorch and others: ``python -m tests.bench``, or a module of it.

Read ``harness.py`` for the method, ``ours.py`` and ``rival.py`` for the two sides, then the
subjects: ``train.py``, ``sample.py``, ``startup.py``, ``encode.py``. ``gpu.py`` is a command of
its own.
"""
