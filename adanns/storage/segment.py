"""One file of named arrays: safetensors, with every array on a cache line and a checksum of each.

Layout (docs/format.md): 8 bytes, the header's length; the header, JSON padded with spaces to 64 bytes; the arrays, one
after another. Holes are not allowed there, so what fills an array up to 64 bytes is an array too, `padding.N`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adanns.arrays import Arrays, aligned_copy, let_go
from adanns.errors import CorruptIndexError
from adanns.storage.header import LONGEST_HEADER

ALIGNMENT = 64
CHUNK_BYTES = 1 << 22  # summed while it is still in the cache, then written
PADDING = "padding."
FILE_NAME = re.compile(r"(segment|removed)-[0-9a-f]{16}\.safetensors")
NAME_OF = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<u2": "U16",
    "<i2": "I16",
    "<f2": "F16",
    "<u4": "U32",
    "<i4": "I32",
    "<f4": "F32",
    "<u8": "U64",
    "<i8": "I64",
    "<f8": "F64",
}
DTYPE_OF = {name: np.dtype(text) for text, name in NAME_OF.items()}


def write_segment(path: Path, arrays: Arrays, metadata: Mapping[str, str]) -> str:
    """Write a file that was not there and see it onto the disk; returns a digest of all that is in it."""
    sums = dict.fromkeys(arrays, 0)
    header = _header(arrays, metadata, sums)
    with path.open("xb") as file, ThreadPoolExecutor(1) as summing:
        file.write(bytes(len(header)))
        for name, array in arrays.items():
            sums[name] = _write_array(file, np.ascontiguousarray(array), summing)
            file.write(bytes(-array.nbytes % ALIGNMENT))
        header = _header(arrays, metadata, sums)  # as long as the first: sums have a fixed width
        file.seek(0)
        file.write(header)
        file.flush()
        os.fsync(file.fileno())
    return _digest(header)


def read_segment(path: Path, *, mmap: bool, verify: bool) -> tuple[dict[str, str], Arrays]:
    """(metadata, arrays) of a file; with `mmap` the arrays stay on disk until they are read.

    Raises CorruptIndexError where the file is not as its header says; with `verify` also where a checksum differs, or
    the header from what it was when the file was named.
    """
    if not path.is_file():  # a pipe would be waited for
        raise CorruptIndexError(f"{path} is missing")
    try:
        raw = np.memmap(path, np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        raise CorruptIndexError(f"{path} cannot be read: {error}") from error
    metadata, described, first = _parsed(path, raw)
    named = FILE_NAME.fullmatch(path.name) if verify else None
    if named is not None and path.name != file_name(named[1], _digest(raw[:first].tobytes())):
        raise CorruptIndexError(f"{path}: the header is not the one that the file is named after")
    sums = _sums_of(path, metadata)
    arrays: Arrays = {}
    for name, (dtype, shape, begin, end) in described.items():
        if name.startswith(PADDING):
            continue
        view = raw[first + begin : first + end].view(dtype).reshape(shape)
        if verify and zlib.crc32(raw[first + begin : first + end].data) != sums.get(name):
            raise CorruptIndexError(f"{path}: array {name} does not have the checksum that was written with it")
        # Only a file that another program wrote has arrays off the cache lines, which the engine counts on.
        arrays[name] = view if mmap and (first + begin) % ALIGNMENT == 0 else aligned_copy(view)
    return metadata, arrays


def file_name(what: str, digest: str) -> str:
    """What a file with this digest is called."""
    return f"{what}-{digest}.safetensors"


def _digest(header: bytes) -> str:
    return hashlib.sha256(header).hexdigest()[:16]


def _header(arrays: Arrays, metadata: Mapping[str, str], sums: Mapping[str, int]) -> bytes:
    checksums = json.dumps({name: f"{value:08x}" for name, value in sums.items()})
    entries: dict[str, Any] = {"__metadata__": {**metadata, "crc32": checksums}}
    offset = 0
    for number, (name, array) in enumerate(arrays.items()):
        if array.dtype.str not in NAME_OF:
            raise TypeError(f"{name} has dtype {array.dtype}; a segment holds {sorted(NAME_OF)}")
        end = offset + array.nbytes
        entries[name] = {"dtype": NAME_OF[array.dtype.str], "shape": array.shape, "data_offsets": [offset, end]}
        offset = end + -end % ALIGNMENT
        if offset > end:
            entries[f"{PADDING}{number}"] = {"dtype": "U8", "shape": [offset - end], "data_offsets": [end, offset]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _write_array(file: Any, array: NDArray[Any], summing: Executor) -> int:
    """Write all bytes; returns their crc32, which another thread adds up meanwhile."""
    array_bytes, value = array.reshape(-1).view(np.uint8), 0
    data = array_bytes.data
    for start in range(0, len(data), CHUNK_BYTES):
        chunk = data[start : start + CHUNK_BYTES]
        added = summing.submit(zlib.crc32, chunk, value)
        file.write(chunk)
        value = added.result()
        let_go(array_bytes[start : start + CHUNK_BYTES])  # of what is mapped: a save needs no memory for it
    return value


Described = dict[str, tuple[np.dtype[Any], tuple[int, ...], int, int]]


def _parsed(path: Path, raw: NDArray[np.uint8]) -> tuple[dict[str, str], Described, int]:
    """(metadata, {name: (dtype, shape, begin, end)}, where the arrays begin), with all sizes checked."""
    if len(raw) < 8:
        raise CorruptIndexError(f"{path} is {len(raw)} bytes long; a segment has a header")
    (length,) = struct.unpack("<Q", raw[:8].tobytes())
    first = 8 + length
    if length > LONGEST_HEADER or first > len(raw):
        raise CorruptIndexError(f"{path} is {len(raw)} bytes long, its header alone claims {length}")
    try:
        entries = json.loads(raw[8:first].tobytes(), object_pairs_hook=_without_duplicates)
        metadata = entries.pop("__metadata__")
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("metadata are strings")
        described = {name: _checked_entry(entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptIndexError(f"{path} has no header of a segment: {error!r}") from error
    offset = 0
    for name, (_, _, begin, end) in sorted(described.items(), key=lambda item: item[1][2:]):
        if begin != offset:
            raise CorruptIndexError(f"{path}: array {name} begins at {begin}, where {offset} was expected")
        offset = end
    if first + offset != len(raw):
        raise CorruptIndexError(f"{path} is {len(raw)} bytes long; its header says {first + offset}")
    return metadata, described, first


def _checked_entry(entry: Mapping[str, Any]) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    dtype = DTYPE_OF[entry["dtype"]]
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(size) is int and size >= 0 for size in (*shape, begin, end)) or len(shape) > 8:
        raise ValueError(f"shape {shape} at {begin} to {end}")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - begin} bytes for shape {shape} of {dtype}")
    return dtype, shape, begin, end


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _sums_of(path: Path, metadata: Mapping[str, str]) -> dict[str, int]:
    try:
        return {name: int(value, 16) for name, value in json.loads(metadata["crc32"]).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptIndexError(f"{path} has no checksums: {error!r}") from error
