"""Vectors in the columns of Arrow, Feather and Parquet files: `embedding`, and `id` if there is one.

An uncompressed Arrow file of one record batch stays where it is, memory-mapped; anything else is decoded into one
array, in memory or in a file, Parquet a batch at a time. Types and the length of every list are checked, and Arrow's
own offsets before use.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.arrays import let_go
from adanns.datasets.dataset import Vectors
from adanns.datasets.npy_file import require_file
from adanns.workspace import empty_on_disk

IDS, VECTORS = "id", "embedding"
FOOTER_MAGIC = b"ARROW1"  # a file with a footer; without it, a stream, as Hugging Face's `datasets` writes them
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"  # pyarrow does without it, and so takes a cut stream for a shorter one
BATCH_ROWS = 8192  # of Parquet, decoded at a time
PARQUET_SUFFIXES = (".parquet", ".pq")


def read_arrow(
    file: Path, *, scratch: str | os.PathLike[str] | None = None
) -> tuple[Vectors, npt.NDArray[np.int64] | None]:
    """The float16 or float32 (rows, dims) in the column `embedding` and the int64 (rows,) in `id`, or None without it.

    `embedding`: lists of one length, or fixed-size lists. ValueError or OSError names the file, and the row where there
    is one: nulls, lists of other lengths, other types, damage. ImportError says to install pyarrow.
    """
    require_file(file)
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{file} is read with pyarrow: pip install pyarrow (or adanns[files])") from error
    try:
        opened = (_open_parquet if file.suffix.lower() in PARQUET_SUFFIXES else _open_arrow)(file)
        return _joined(file, *opened, scratch)
    except (pyarrow.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        if getattr(error, "errno", None):  # the system's, such as PermissionError; pyarrow's own have no number
            raise
        raise ValueError(f"{file}: damaged, or no {file.suffix} file ({str(error).strip()})") from error


def _open_parquet(file: Path) -> tuple[Any, int, Iterable[Any]]:
    """The schema, the number of rows, and the record batches, decoded one at a time."""
    from pyarrow import parquet

    opened = parquet.ParquetFile(file, memory_map=True, page_checksum_verification=True)
    schema = opened.schema_arrow
    wanted = [name for name in schema.names if name in (VECTORS, IDS)]
    return schema, opened.metadata.num_rows, opened.iter_batches(BATCH_ROWS, columns=wanted)


def _open_arrow(file: Path) -> tuple[Any, int, Iterable[Any]]:
    """As `_open_parquet`; the batches are views of the memory map, or all decoded if the file is compressed."""
    from pyarrow import ipc, memory_map

    source = memory_map(str(file))
    has_footer = source.read(len(FOOTER_MAGIC)) == FOOTER_MAGIC
    source.seek(max(0, source.size() - len(STREAM_END)))
    if not has_footer and source.read() != STREAM_END:
        raise ValueError(f"{file}: truncated or overlong: neither an Arrow file nor a stream with its end mark")
    source.seek(0)
    # All columns, since pyarrow copies out of the memory map as soon as it is told which ones to read.
    table = (ipc.open_file if has_footer else ipc.open_stream)(source).read_all()
    return table.schema, table.num_rows, table.to_batches()


def _joined(
    file: Path, schema: Any, rows: int, batches: Iterable[Any], scratch: str | os.PathLike[str] | None
) -> tuple[Vectors, npt.NDArray[np.int64] | None]:
    _check_types(file, schema)
    if rows < 1:
        raise ValueError(f"{file}: no rows")
    has_ids = IDS in schema.names
    vectors: Any = None
    ids: Any = None
    filled = 0
    for batch in batches:
        if batch.num_rows == 0:
            continue
        part = _matrix(file, batch.column(VECTORS), filled)
        end = filled + len(part)
        if vectors is None:
            vectors = part if len(part) == rows else _empty(file, (rows, part.shape[1]), part.dtype, scratch)
            ids = _empty(file, (rows,), np.dtype(np.int64)) if has_ids else None
        if part.shape[1] != vectors.shape[1] or end > rows:
            raise ValueError(
                f"{file}: rows {filled:,} to {end - 1:,} have {part.shape[1]} dims; "
                f"expected {rows:,} rows of {vectors.shape[1]}, as the first has"
            )
        if part is not vectors:
            vectors[filled:end] = part
            if scratch is not None:
                let_go(vectors)
        if has_ids:
            ids[filled:end] = _integers(file, batch.column(IDS), filled)
        filled = end
    if filled != rows:
        raise ValueError(f"{file}: truncated: {filled:,} rows, but its header means {rows:,}")
    return vectors, ids


def _empty(
    file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], scratch: str | os.PathLike[str] | None = None
) -> npt.NDArray[Any]:
    try:
        return np.empty(shape, dtype) if scratch is None else empty_on_disk(shape, dtype, scratch)
    except (MemoryError, ValueError, OverflowError) as error:  # the latter two: more than can be addressed
        raise ValueError(f"{file}: its header means an array of {shape}, which the memory does not hold") from error
    except OSError as error:
        place = f"an array of {shape}, for which {scratch} has no room ({error.strerror})"
        raise OSError(error.errno, f"{file}: its header means {place}") from error


def _check_types(file: Path, schema: Any) -> None:
    from pyarrow import types

    for name in (VECTORS, IDS):
        if schema.names.count(name) > 1:
            raise ValueError(f"{file}: {schema.names.count(name)} columns named {name!r}; expected one")
    if VECTORS not in schema.names:
        raise ValueError(
            f"{file}: columns {schema.names}; expected one named {VECTORS!r}, and {IDS!r} if rows have ids"
        )
    kind = schema.field(VECTORS).type
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not (is_list and (types.is_float16(kind.value_type) or types.is_float32(kind.value_type))):
        raise ValueError(f"{file}: column {VECTORS!r} has type {kind}; expected lists of halffloat or float")
    if IDS in schema.names and not types.is_integer(schema.field(IDS).type):
        raise ValueError(f"{file}: column {IDS!r} has type {schema.field(IDS).type}; expected integers")


def _matrix(file: Path, column: Any, first_row: int) -> Vectors:
    """A column of lists as (rows, dims), without a copy."""
    column.validate(full=True)  # pyarrow itself follows offsets unchecked
    _refuse_nulls(file, VECTORS, column, first_row)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    dims = int(lengths[0])
    if dims == 0:
        raise ValueError(f"{file}: column {VECTORS!r}, row {first_row:,}: an empty list")
    if (lengths != dims).any():
        row = int(np.flatnonzero(lengths != dims)[0])
        raise ValueError(f"{file}: column {VECTORS!r}, row {first_row + row:,}: {lengths[row]} values; expected {dims}")
    values = column.flatten()
    _refuse_nulls(file, f"{VECTORS} values", values, first_row * dims, dims)
    matrix: Vectors = values.to_numpy().reshape(-1, dims)
    return matrix


def _integers(file: Path, column: Any, first_row: int) -> npt.NDArray[np.int64]:
    column.validate(full=True)
    _refuse_nulls(file, IDS, column, first_row)
    numbers: npt.NDArray[Any] = column.to_numpy()
    if numbers.dtype == np.uint64 and (too_large := numbers > np.uint64(np.iinfo(np.int64).max)).any():
        row = int(np.flatnonzero(too_large)[0])
        raise ValueError(f"{file}: column {IDS!r}, row {first_row + row:,}: {numbers[row]}; ids are below 2^63")
    return numbers.astype(np.int64)


def _refuse_nulls(file: Path, name: str, column: Any, first: int, to_a_row: int = 1) -> None:
    if column.null_count:
        place = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(f"{file}: column {name!r}, row {(first + place) // to_a_row:,}: null; drop such rows first")
