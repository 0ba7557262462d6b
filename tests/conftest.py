"""For all tests: property tests have no deadline, since machines differ and tests are run side by side."""

from hypothesis import settings

settings.register_profile("physlm", deadline=None)
settings.load_profile("physlm")
