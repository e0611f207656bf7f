"""Where do random numbers come from while training? The global generators: borrowed, seeded, saved, given back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def derived_seed(*numbers: int) -> int:
    """A seed that depends on all of the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def seed_all(seed: int, device: Any = None) -> None:
    """Seed the global generators of torch, numpy and Python, and the device's if it is a GPU."""
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    np.random.seed(seed % (1 << 32))  # noqa: NPY002 - the generator that users' augmentation code draws from
    random.seed(seed)


def captured(device: Any = None) -> dict[str, Any]:
    """The states of those generators: tensors and plain numbers, safe to load from a file."""
    version, numbers, gauss = random.getstate()
    state: Any = np.random.get_state()  # noqa: NPY002
    _, keys, position, has_gauss, cached = state
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "python": [version, torch.tensor(numbers), gauss],
    }
    if device is not None and device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore(states: dict[str, Any], device: Any = None) -> None:
    """Put captured states back."""
    torch.set_rng_state(states["torch"])
    keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    if "cuda" in states and device is not None and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def borrowed(device: Any = None) -> Iterator[None]:
    """Give the global generators back as they were."""
    before = captured(device)
    try:
        yield
    finally:
        restore(before, device)


@contextmanager
def seeded(seed: int, device: Any = None) -> Iterator[None]:
    """The global generators from a seed, and back as they were."""
    with borrowed(device):
        seed_all(seed, device)
        yield
