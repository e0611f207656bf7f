"""A folder of named arrays: index.json (kind, format version, parameters, what each array is) and one .npy each."""

from __future__ import annotations

import json
import operator
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import Arrays, aligned_empty
from adanns.errors import CorruptIndexError, IncompatibleVersionError

FORMAT = "adanns"
FORMAT_VERSION = 1
HEADER = "index.json"


def write_folder(folder: Path, kind: str, parameters: str, arrays: Arrays) -> None:
    """Write beside `folder` and rename, so that a reader sees the old index or the new one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not (folder / HEADER).is_file():
        raise FileExistsError(f"{folder} exists and is not a saved index; choose another folder")
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, array in arrays.items():
            np.save(fresh / f"{name}.npy", array, allow_pickle=False)
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "kind": kind,
            "parameters": json.loads(parameters),
            "arrays": {name: {"dtype": array.dtype.str, "shape": array.shape} for name, array in arrays.items()},
        }
        (fresh / HEADER).write_text(json.dumps(header, indent=1))
        fresh.chmod(0o777 & ~_umask())
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def read_folder(folder: Path, mmap: bool) -> tuple[str, str, Arrays]:
    """Kind, parameters (JSON) and arrays of a saved index; with `mmap` the arrays stay on disk."""
    path = folder / HEADER
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no saved index: {HEADER} is missing")
    try:
        header = json.loads(path.read_text())
        if header["format"] != FORMAT:
            raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
        version = operator.index(header["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptIndexError(f"{path} is not the header of a saved index: {error!r}") from error
    if version != FORMAT_VERSION:
        raise IncompatibleVersionError(
            f"{folder} has format version {version}; this adanns reads version {FORMAT_VERSION}"
        )
    try:
        kind, parameters = header["kind"], json.dumps(header["parameters"])
        described = {name: (what["dtype"], tuple(what["shape"])) for name, what in header["arrays"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptIndexError(f"{path} does not describe an index: {error!r}") from error
    return kind, parameters, {name: _read(folder, name, *what, mmap) for name, what in described.items()}


def _read(folder: Path, name: str, dtype: str, shape: tuple[int, ...], mmap: bool) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise CorruptIndexError(f"{path} cannot be read: {error}") from error
    if array.dtype.str != dtype or array.shape != shape:
        raise CorruptIndexError(f"{path} is {array.dtype.str} {array.shape}; the header says {dtype} {shape}")
    if not array.flags.c_contiguous:
        raise CorruptIndexError(f"{path} is in column order; arrays of an index are in row order")
    if mmap:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
