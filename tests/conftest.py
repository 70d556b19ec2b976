"""For all tests: examples are the same on every run, and a busy machine fails none of them."""

from hypothesis import settings

settings.register_profile("specroute", deadline=None, derandomize=True)
settings.load_profile("specroute")
