"""Memory-map a .npy file after its header and its size have been checked against each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.datasets.dataset import Vectors

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def require_file(file: Path) -> None:
    """FileNotFoundError or IsADirectoryError, with the path, unless `file` is one."""
    if file.is_dir():
        raise IsADirectoryError(f"{file}: a folder; expected a file")
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")


def require_size(file: Path, expected: int, header: str) -> None:
    """ValueError unless the file has the bytes that its header promises; `header` says what that is."""
    actual = file.stat().st_size
    if actual != expected:
        damage = "truncated" if actual < expected else "overlong"
        raise ValueError(f"{file}: {damage}: {actual:,} bytes, but its header ({header}) means {expected:,}")


def map_numbers(file: Path) -> npt.NDArray[Any]:
    """The array of numbers in a .npy file, a read-only memory map in row order.

    OSError or ValueError, naming the file: no such file, a folder, not a .npy file, pickled objects, column order,
    no values, or a size that is not what the header says. Nothing is allocated before these are checked.
    """
    require_file(file)
    with file.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version not in _HEADER_READERS:
                raise ValueError(f"its format version is {version}")
            shape, columns_first, dtype = _HEADER_READERS[version](stream)
        except OSError:
            raise
        except Exception as error:  # a damaged header is a Python expression of any kind: numpy raises as many errors
            raise ValueError(f"{file}: not a .npy file that can be memory-mapped ({error})") from error
        offset = stream.tell()
    if dtype.kind not in "biuf":
        raise ValueError(f"{file}: dtype {dtype}; expected numbers (pickled objects are never read)")
    if min(shape, default=1) < 1:
        raise ValueError(f"{file}: shape {shape}; expected at least one value")
    require_size(file, offset + math.prod(shape) * dtype.itemsize, f"{dtype.str} {shape}")
    if columns_first and len(shape) > 1:
        raise ValueError(f"{file}: in column (Fortran) order; save numpy.ascontiguousarray(...) of it")
    return np.memmap(file, dtype, "r", offset, shape)


def map_vectors(file: Path) -> Vectors:
    """The float16 or float32 (rows, dims) array in a .npy file, a read-only memory map; errors as `map_numbers`."""
    array = map_numbers(file)
    if array.dtype not in (np.float16, np.float32):
        raise ValueError(f"{file}: dtype {array.dtype}; expected float16 or float32 (little-endian)")
    if array.ndim != 2:
        raise ValueError(f"{file}: shape {array.shape}; expected (rows, dims)")
    return array
