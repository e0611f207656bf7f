"""Where is a network, and in which mode? Modes are set for a while, then each part's own again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def device_of(model: Any) -> Any:
    """Where the model's parameters are; the CPU if it has none."""
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def training_mode(*modules: Any) -> Iterator[None]:
    """Modules in training mode."""
    with _mode(True, modules):
        yield


@contextmanager
def evaluation_mode(*modules: Any) -> Iterator[None]:
    """Modules in evaluation mode."""
    with _mode(False, modules):
        yield


@contextmanager
def _mode(training: bool, modules: tuple[Any, ...]) -> Iterator[None]:
    before = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.train(training)
        yield
    finally:
        for part, mode in before:
            part.training = mode
