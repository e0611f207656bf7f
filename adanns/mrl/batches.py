"""Which rows make up each training batch? Batches out of plain arrays, shuffled anew every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from adanns.arrays import checked_count, checked_seed
from adanns.mrl.random_state import derived_seed, seeded

Array = npt.NDArray[Any]


class ArrayBatches:
    """Batches of (inputs, targets), or of (inputs,) alone, that need no DataLoader and resume at any step.

    inputs: an array or memory map, one row for each example; kept as it is, and batches keep its dtype: uint8 images
        are read as bytes and become floats in `transform` or in the model.
    targets: one a row, or None. Integers become int64, floats float32.
    batch: rows in a batch. The rows left over at the end of an epoch are dropped; it shuffles anew, so others are
        left over the next time.
    seed: of the order and of `transform`.
    rows: the rows to use, as integers or as a mask; None: all.
    transform: called with each batch of inputs as a tensor, e.g. to augment. What it draws from torch's, numpy's and
        Python's global generators depends only on seed, epoch and batch; the caller's generators stay as they were.
    """

    def __init__(
        self,
        inputs: Array,
        targets: Array | None,
        *,
        batch: int,
        seed: int = 0,
        rows: Array | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.inputs = inputs if isinstance(inputs, np.ndarray) else np.asarray(inputs)
        if self.inputs.ndim < 2:
            raise ValueError(f"inputs have shape {self.inputs.shape}; expected (rows, ...)")
        self.targets = None if targets is None else _checked_targets(targets, len(self.inputs))
        self.rows = _checked_rows(rows, len(self.inputs))
        self.batch = checked_count(batch, "batch")
        if self.batch > len(self.rows):
            raise ValueError(f"batch={batch} is larger than the data: {len(self.rows)} rows")
        self.seed = checked_seed(seed)
        self.transform = transform

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.rows) // self.batch

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Any, ...]]:
        """The batches of an epoch, from batch `first` on: tensors on the CPU."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.rows))
        for step in range(first, len(self)):
            # In order of memory: which rows share a batch is random, where they stand in it need not be.
            rows = np.sort(self.rows[order[step * self.batch : (step + 1) * self.batch]])
            inputs = torch.from_numpy(self.inputs[rows])
            if self.transform is not None:
                with seeded(derived_seed(self.seed, number, step)):
                    inputs = self.transform(inputs)
            yield (inputs,) if self.targets is None else (inputs, torch.from_numpy(self.targets[rows]))


def _checked_targets(targets: Array, rows: int) -> Array:
    array = np.asarray(targets)
    if len(array) != rows:
        raise ValueError(f"{len(array)} targets for {rows} rows of inputs; expected one a row")
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    raise TypeError(f"targets have dtype {array.dtype}; expected integers or floats")


def _checked_rows(rows: Array | None, count: int) -> npt.NDArray[np.int64]:
    if rows is None:
        return np.arange(count)
    array = np.asarray(rows)
    if array.dtype == bool and array.shape == (count,):
        return np.flatnonzero(array)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise TypeError(f"rows are {array.dtype} {array.shape}; expected row numbers or a mask of {count}")
    if len(array) and not (array.min() >= 0 and array.max() < count):
        raise ValueError(f"rows go from {array.min()} to {array.max()}; inputs have {count} rows")
    return array.astype(np.int64)
