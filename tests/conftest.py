"""What all tests share: how hypothesis looks for counterexamples, and the emulator of CUDA."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator

import cuda_search
import pytest
from cuda_emulator import emulator
from cuda_hardware import Hardware
from hypothesis import settings

from adanns import cuda

# The same examples in every run, and no deadline: a slow machine is no failure.
settings.register_profile("adanns", deadline=None, max_examples=80, derandomize=True)
settings.load_profile("adanns")


# What runs the kernels. ADANNS_TEST_CUDA=emulator or gpu: that one alone.
RUNNERS = [os.environ["ADANNS_TEST_CUDA"]] if "ADANNS_TEST_CUDA" in os.environ else ["emulator"]
if "ADANNS_TEST_CUDA" not in os.environ and cuda.is_available():
    RUNNERS.append("gpu")


@pytest.fixture(scope="session", params=RUNNERS)
def loaded(request: pytest.FixtureRequest) -> cuda_search.Loaded:
    """adanns._cuda with its kernels on the CPU, built on first use; and as installed where there is a GPU."""
    if request.param == "gpu":
        if cuda.why_not():
            pytest.fail(cuda.why_not())
        return importlib.import_module("adanns._cuda"), Hardware()
    if emulator.why_not():
        pytest.skip(emulator.why_not())
    return cuda_search.load(emulator.build(emulator.sanitizers()))


@pytest.fixture
def device(loaded: cuda_search.Loaded) -> Iterator[cuda_search.AnyDevice]:
    """Device memory that lasts for a test."""
    with loaded[1].device() as device:
        yield device
