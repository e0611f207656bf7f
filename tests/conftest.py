"""What all tests share: how hypothesis looks for counterexamples, and the emulator of CUDA."""

from __future__ import annotations

from collections.abc import Iterator

import cuda_search
import pytest
from cuda_emulator import emulator
from hypothesis import settings

# The same examples in every run, and no deadline: a slow machine is no failure.
settings.register_profile("adanns", deadline=None, max_examples=80, derandomize=True)
settings.load_profile("adanns")


@pytest.fixture(scope="session")
def loaded() -> cuda_search.Loaded:
    """adanns._cuda with its kernels on the CPU, built on first use."""
    return cuda_search.load(emulator.build(emulator.sanitizers()))


@pytest.fixture
def device(loaded: cuda_search.Loaded) -> Iterator[emulator.Device]:
    """Device memory that lasts for a test."""
    with loaded[1].device() as device:
        yield device
