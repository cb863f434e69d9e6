"""Settings of all tests."""

from hypothesis import settings

# Machines that run tests are busy: an example that takes long is no failure.
settings.register_profile("ktc", deadline=None)
settings.load_profile("ktc")
