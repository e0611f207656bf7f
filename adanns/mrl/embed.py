"""How do embeddings get from a network to a file? Streamed batch by batch into a .npy that is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from adanns.arrays import checked_count
from adanns.mrl.modes import device_of, evaluation_mode
from adanns.progress import Progress, ProgressCallback


def embed(
    model: Any,
    inputs: Any,
    path: str | PathLike[str],
    *,
    dtype: Literal["float16", "float32"] = "float16",
    batch: int = 1024,
    device: str | None = None,
    progress: bool | ProgressCallback | None = None,
) -> npt.NDArray[Any]:
    """Write model(inputs) to the .npy file `path`; the embeddings (rows, dims) as a read-only memory map.

    inputs: an array or memory map (rows, ...), read `batch` rows at a time; or a DataLoader that does not shuffle,
        whose batches are inputs or (inputs, ...).
    device: where to compute; the model is moved there and stays there. None: where it is.
    The model is in evaluation mode meanwhile; the number of threads is torch's.

    Raises FloatingPointError naming the first row that holds NaN or infinity, and OverflowError naming the first one
    that float16 cannot hold. The file then stays as it was.
    """
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype is {dtype!r}; choose 'float16' or 'float32'")
    place = device_of(model) if device is None else torch.device(device)
    model.to(place)
    target = Path(path)
    temporary = target.with_name(target.name + ".part")
    rows, source = _batches(inputs, checked_count(batch, "batch"))
    shown = Progress(progress)
    written: Any = None
    done = 0
    try:
        with shown, evaluation_mode(model), torch.inference_mode():
            for part in source:
                values = model(part.to(place)).float().cpu().numpy()
                if values.ndim != 2 or len(values) != len(part):
                    raise ValueError(f"model gives shape {values.shape} for {len(part)} rows; expected (rows, dims)")
                if written is None:
                    shape = (rows, values.shape[1])
                    written = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(dtype), shape=shape)
                if done + len(values) > rows:
                    raise ValueError(f"inputs give more than the {rows} rows that their length says")
                _check_values(values, done, dtype)
                written[done : done + len(values)] = values
                done += len(values)
                shown.step("embedding", done, rows)
        if done != rows:
            raise ValueError(f"inputs give {done} rows; their length says {rows}")
        written.flush()
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
    embeddings: npt.NDArray[Any] = np.load(target, mmap_mode="r")
    return embeddings


def _batches(inputs: Any, batch: int) -> tuple[int, Iterator[Any]]:
    """How many rows there are, and tensors of them on the CPU."""
    if isinstance(inputs, torch.utils.data.DataLoader):
        if len(inputs.dataset) == 0:
            raise ValueError("inputs are a DataLoader of an empty data set")
        return len(inputs.dataset), (part[0] if isinstance(part, (tuple, list)) else part for part in inputs)
    array = inputs if isinstance(inputs, np.ndarray) else np.asarray(inputs)
    if array.ndim < 2 or len(array) == 0:
        raise ValueError(f"inputs have shape {array.shape}; expected (rows, ...) with at least one row")
    # Copied: a memory map may be read-only, which torch cannot say of a tensor.
    return len(array), (
        torch.from_numpy(np.array(array[start : start + batch])) for start in range(0, len(array), batch)
    )


def _check_values(values: npt.NDArray[np.float32], first_row: int, dtype: str) -> None:
    finite = np.isfinite(values).all(1)
    if not finite.all():
        row = first_row + int(np.argmin(finite))
        raise FloatingPointError(f"the embedding of row {row} holds NaN or infinity")
    largest = np.abs(values).max(1)
    if dtype == "float16" and largest.max() > np.finfo(np.float16).max:
        row = int(largest.argmax())
        raise OverflowError(
            f"the embedding of row {first_row + row} reaches {largest[row]:.6g}, beyond float16's 65504; "
            f"use dtype='float32'"
        )
