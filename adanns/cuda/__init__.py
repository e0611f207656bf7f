"""Search on a GPU: `index.to("cuda")` gives the same index on the device (docs/cuda.md).

Importing this needs neither a driver nor cupy: `is_available()` says whether both are here, `why_not()` what is not.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from adanns.cuda.memory import CupyMemory, Memory

__all__ = ["is_available", "why_not"]


def is_available() -> bool:
    """Whether a search can run on a GPU here."""
    return not why_not()


def why_not() -> str:
    """What keeps a search from running on a GPU here; nothing where it can."""
    try:
        module = importlib.import_module("adanns._cuda")
    except ImportError as error:
        return f"adanns was built without CUDA ({error}): put nvcc on PATH and install it with ADANNS_CUDA=require"
    reason: str = module.why_not()
    if reason:
        return reason
    if find_spec("cupy") is None:
        return "cupy, which holds the device's arrays, is not installed: pip install cupy-cuda13x (or -cuda12x)"
    return ""


def current_device() -> tuple[Memory, ModuleType]:
    """cupy's current device, and the kernels. Raises RuntimeError where there is none, saying why."""
    reason = why_not()
    if reason:
        raise RuntimeError(f"no search on a GPU here: {reason}")
    return CupyMemory(), importlib.import_module("adanns._cuda")
