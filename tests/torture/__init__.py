"""The full figures of what a run survives: ``python -m tests.torture``, or a section of it.

``saves.py`` disturbs saves, ``damage.py`` damages checkpoints, ``training.py`` kills whole runs;
how, is in ``tests/support``, of which the ordinary tests use a part.
"""
