"""Vectors in a file of any kind we read: .npy, .fbin, Parquet, Arrow and Feather."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from adanns.datasets.arrow_file import PARQUET_SUFFIXES, read_arrow
from adanns.datasets.dataset import Vectors
from adanns.datasets.fbin_file import map_fbin
from adanns.datasets.npy_file import map_vectors

SUFFIXES = (".npy", ".fbin", *PARQUET_SUFFIXES, ".arrow", ".feather")


def read_vectors(
    path: str | os.PathLike[str], *, scratch: str | os.PathLike[str] | None = None
) -> tuple[Vectors, npt.NDArray[np.int64] | None]:
    """Vectors, float16 or float32 (rows, dims), and ids, int64 (rows,), or None where the file has none.

    .npy and .fbin files are memory-mapped; for Arrow and Parquet files (columns `embedding` and, if there are ids,
    `id`) see `adanns.datasets.arrow_file`. A file is checked before it is used: ValueError or OSError names it and says
    what is wrong. NaN and infinity are found later, when an index is built. scratch: a folder with room for the vectors
    of an Arrow or Parquet file that cannot be mapped: they are decoded into a file without a name there, and mapped,
    instead of into memory.

        vectors, ids = adanns.datasets.read_vectors("embeddings.parquet")
        index = adanns.IVFIndex().build(vectors, ids)
    """
    file = Path(path).expanduser()
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return map_vectors(file), None
    if suffix == ".fbin":
        return map_fbin(file), None
    if suffix in SUFFIXES:
        return read_arrow(file, scratch=scratch)
    raise ValueError(f"{file}: unknown kind of file; expected a name that ends in {', '.join(SUFFIXES)}")
