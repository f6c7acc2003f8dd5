"""Set up before any test module is imported."""

import os

# The matrices of the tests are tiny: a second thread only gets in the way of other work.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from hypothesis import settings

# The same examples every time, however busy the machine.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")
