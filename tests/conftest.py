"""What all tests share: how hypothesis looks for counterexamples."""

from hypothesis import settings

# The same examples in every run, and no deadline: a slow machine is no failure.
settings.register_profile("adanns", deadline=None, max_examples=80, derandomize=True)
settings.load_profile("adanns")
