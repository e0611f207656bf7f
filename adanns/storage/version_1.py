"""Read indices as the first version wrote them: index.json (kind, parameters, what each array is) and a .npy each."""

from __future__ import annotations

import contextlib
import json
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import CACHE_LINE, Arrays, aligned_copy
from adanns.errors import CorruptIndexError, IncompatibleVersionError
from adanns.storage.header import read_header

FORMAT_VERSION = 1
HEADER = "index.json"
NPY_MAGIC = b"\x93NUMPY\x01\x00"


def read_folder(folder: Path, mmap: bool) -> tuple[str, str, Arrays]:
    """Kind, parameters (JSON) and arrays of a saved index; with `mmap` the arrays stay on disk."""
    path = folder / HEADER
    header, version = read_header(path, "the header")
    if version != FORMAT_VERSION:
        raise IncompatibleVersionError(f"{folder} has {HEADER} of version {version}, which is not known")
    try:
        kind, parameters = header["kind"], json.dumps(header["parameters"])
        described = {name: (what["dtype"], tuple(what["shape"])) for name, what in header["arrays"].items()}
        for name in described:
            if Path(name).name != name:
                raise ValueError(f"an array is named {name!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptIndexError(f"{path} does not describe an index: {error!r}") from error
    return kind, parameters, {name: _read(folder, name, *what, mmap) for name, what in described.items()}


def remove(folder: Path) -> None:
    """Remove the files of an index of this version, of which a newer one has taken the place."""
    path = folder / HEADER
    if not path.is_file():
        return
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        for name in json.loads(path.read_text())["arrays"]:
            if Path(name).name == name:
                (folder / f"{name}.npy").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _read(folder: Path, name: str, dtype: str, shape: tuple[int, ...], mmap: bool) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    if not path.is_file():  # a pipe would be waited for
        raise CorruptIndexError(f"{path} is missing")
    with path.open("rb") as file:
        if file.read(len(NPY_MAGIC)) != NPY_MAGIC:  # later versions have headers of up to 4 GiB, which are read whole
            raise CorruptIndexError(f"{path} is no .npy file of version 1.0")
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, TypeError, ArithmeticError, SyntaxError, tokenize.TokenError) as error:
        # The header of a .npy file is Python, and NumPy passes on what its parser has to say.
        raise CorruptIndexError(f"{path} cannot be read: {error}") from error
    if array.dtype.str != dtype or array.shape != shape:
        raise CorruptIndexError(f"{path} is {array.dtype.str} {array.shape}; the header says {dtype} {shape}")
    if not array.flags.c_contiguous:
        raise CorruptIndexError(f"{path} is in column order; arrays of an index are in row order")
    return array if mmap and array.ctypes.data % CACHE_LINE == 0 else aligned_copy(array)
