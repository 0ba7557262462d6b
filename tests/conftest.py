"""For all tests: one thread, since tests run side by side; no deadlines, since machines differ."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; the processes that tests start inherit it

from hypothesis import settings

settings.register_profile("physlm", deadline=None)
settings.load_profile("physlm")
