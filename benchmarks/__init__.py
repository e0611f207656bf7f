"""Benchmarks of adanns beside its peers: `python -m benchmarks --help`."""
