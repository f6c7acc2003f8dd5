"""Set up before any test module is imported."""

import os

# The matrices of the tests are tiny: a second thread only gets in the way of other work.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
