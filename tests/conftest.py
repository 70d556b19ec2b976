"""For all tests: examples are the same on every run, and a busy machine fails none of them."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "specroute", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("specroute")
