"""The .fbin files of DiskANN and big-ann-benchmarks: int32 rows, int32 dims, float32 values; little-endian."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.arrays import CHUNK_ROWS, LARGEST_COUNT, check_matrix
from adanns.datasets.dataset import Vectors
from adanns.datasets.npy_file import require_file, require_size

HEADER = np.dtype("<i4")
VALUE = np.dtype("<f4")
HEADER_BYTES = 2 * HEADER.itemsize


def map_fbin(file: Path) -> Vectors:
    """The float32 (rows, dims) of a .fbin file, a read-only memory map.

    OSError or ValueError, naming the file: no such file, a folder, a header without rows or dims, or a size that is
    not what the header says.
    """
    require_file(file)
    with file.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        raise ValueError(f"{file}: truncated: {len(header)} bytes, but the header of a .fbin file has {HEADER_BYTES}")
    rows, dims = np.frombuffer(header, HEADER).tolist()
    if rows < 1 or dims < 1:
        raise ValueError(f"{file}: its header says {rows:,} rows of {dims:,} dims; expected at least 1 of each")
    require_size(file, HEADER_BYTES + rows * dims * VALUE.itemsize, f"{rows:,} rows of {dims:,} dims in float32")
    return np.memmap(file, VALUE, "r", HEADER_BYTES, (rows, dims))


def write_fbin(path: str | os.PathLike[str], vectors: npt.NDArray[np.floating[Any]]) -> None:
    """Write (rows, dims), a memory map too, as a .fbin file: float32 whatever their type. `read_vectors` reads it."""
    check_matrix(vectors, "vectors")
    if max(vectors.shape) > LARGEST_COUNT:
        raise ValueError(f"vectors have shape {vectors.shape}; a .fbin file counts to {LARGEST_COUNT:,}")
    with Path(path).expanduser().open("wb") as stream:
        stream.write(np.array(vectors.shape, HEADER).tobytes())
        for start in range(0, len(vectors), CHUNK_ROWS):
            stream.write(vectors[start : start + CHUNK_ROWS].astype(VALUE).tobytes())
