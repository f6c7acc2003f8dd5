"""In every process that a test starts: whatever CuPy there is, it is not used, nor missed."""

import sys

sys.modules["cupy"] = None  # type: ignore[assignment]
