"""Files of vectors: what read_vectors gives for each kind, and that damage is an error that names the file."""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adanns
from adanns import datasets
from adanns.datasets import arrow_file, read_vectors, write_fbin

ROWS, DIMS = 20, 4
VECTORS = np.random.default_rng(0).normal(size=(ROWS, DIMS)).astype(np.float32)
IDS = np.random.default_rng(1).permutation(ROWS) + 100


# ---- .npy and .fbin


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_npy_is_memory_mapped(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "a.npy", VECTORS.astype(dtype))
    vectors, ids = read_vectors(tmp_path / "a.npy")
    assert ids is None
    assert isinstance(vectors, np.memmap)
    assert vectors.dtype == dtype
    np.testing.assert_array_equal(vectors, VECTORS.astype(dtype))


def test_fbin_is_counts_then_float32_rows(tmp_path: Path) -> None:
    (tmp_path / "a.fbin").write_bytes(struct.pack("<ii6f", 2, 3, 1, 2, 3, 4, 5, 6))
    vectors, ids = read_vectors(tmp_path / "a.fbin")
    assert ids is None
    assert isinstance(vectors, np.memmap)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("stored", [VECTORS, VECTORS.astype(np.float16), VECTORS.astype(">f8"), VECTORS.T])
def test_what_write_fbin_writes_is_read_again(tmp_path: Path, stored: npt.NDArray[Any]) -> None:
    write_fbin(tmp_path / "a.fbin", stored)
    vectors, _ = read_vectors(tmp_path / "a.fbin")
    np.testing.assert_array_equal(vectors, stored.astype(np.float32))


@pytest.mark.parametrize("bad", [VECTORS[0], VECTORS[:0], VECTORS.astype(int)])
def test_write_fbin_refuses_what_is_no_matrix_of_floats(tmp_path: Path, bad: npt.NDArray[Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=r"vectors (have|are)"):
        write_fbin(tmp_path / "a.fbin", bad)
    assert not (tmp_path / "a.fbin").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated: 0 bytes, but the header of a .fbin file has 8"),
        (struct.pack("<i", 1), "truncated: 4 bytes"),
        (struct.pack("<ii", 0, 4), "its header says 0 rows of 4 dims"),
        (struct.pack("<iif", 1, -1, 0), "its header says 1 rows of -1 dims"),
        (struct.pack("<ii", -(2**31), -(2**31)), "its header says -2,147,483,648 rows"),
        (struct.pack("<ii", 2**31 - 1, 2**31 - 1), "truncated: 8 bytes, .* means 18,446,744,056,529,682,444"),
        (struct.pack("<ii2f", 1, 3, 0, 0), r"truncated: 16 bytes, but its header \(1 rows of 3 dims .*\) means 20"),
        (struct.pack("<ii2f", 1, 1, 0, 0), "overlong: 16 bytes, but its header .* means 12"),
        (struct.pack(">iif", 1, 1, 0), "truncated: 12 bytes, but its header .16,777,216 rows of 16,777,216 dims"),
    ],
)
def test_damaged_fbin_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.fbin").write_bytes(content)
    with pytest.raises(ValueError, match=rf"/a\.fbin: {message}"):
        read_vectors(tmp_path / "a.fbin")


def npy(descr: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("<f4", "(1, -1)"), r"shape \(1, -1\); expected at least one"),
        (npy("<f4", "10**9"), "not a .npy file"),
        (npy("<f4", f"({2**62}, 4)"), "truncated: .* means 73,786,"),
        (npy("|S0", "(1, 1)"), r"dtype \|S0; expected numbers"),
        (npy("V4", "(1, 1)", bytes(4)), "dtype .*; expected numbers"),
        (npy("<f4", "(1, 2, 1)", bytes(8)), r"shape \(1, 2, 1\); expected \(rows, dims\)"),
        (npy("<f4", "[" * 5000), "not a .npy file"),
        (b"\x93NUMPY\x03\x00" + bytes(100), r"not a .npy file .*version is \(3, 0\)"),
    ],
)
def test_absurd_npy_header_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=rf"/a\.npy: {message}"):
        read_vectors(tmp_path / "a.npy")


# ---- Arrow and Parquet


def list_column(vectors: npt.NDArray[Any], kind: str) -> Any:
    pa = pytest.importorskip("pyarrow")
    rows, dims = vectors.shape
    values = pa.array(vectors.ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(values, dims)
    offsets = np.arange(0, (rows + 1) * dims, dims)
    if kind == "large":
        return pa.LargeListArray.from_arrays(offsets, values)
    return pa.ListArray.from_arrays(offsets.astype(np.int32), values)


def table(vectors: npt.NDArray[Any] = VECTORS, ids: Any = IDS, kind: str = "list") -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.table({"text": ["x"] * len(vectors), "id": ids, "embedding": list_column(vectors, kind)})


def write_parquet(file: Path, content: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(content, file, row_group_size=8)


def write_feather(file: Path, content: Any) -> None:
    feather = pytest.importorskip("pyarrow.feather")
    feather.write_feather(content, file, chunksize=8)


def write_arrow(file: Path, content: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
        writer.write_table(content)


def write_stream(file: Path, content: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content, max_chunksize=8)


WRITERS: dict[str, tuple[str, Callable[[Path, Any], None]]] = {
    "parquet": ("a.parquet", write_parquet),
    "feather": ("a.feather", write_feather),
    "arrow": ("a.arrow", write_arrow),
    "stream": ("b.arrow", write_stream),
}
every_writer = pytest.mark.parametrize(("name", "write"), WRITERS.values(), ids=WRITERS)


@every_writer
@pytest.mark.parametrize("kind", ["list", "large", "fixed"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_columns_are_read_whatever_kind_of_list_they_are(
    tmp_path: Path, name: str, write: Callable[[Path, Any], None], kind: str, dtype: type
) -> None:
    write(tmp_path / name, table(VECTORS.astype(dtype), kind=kind))
    vectors, ids = read_vectors(str(tmp_path / name))
    assert vectors.dtype == dtype
    np.testing.assert_array_equal(vectors, VECTORS.astype(dtype))
    assert ids is not None
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, IDS)


def test_a_parquet_file_can_be_decoded_to_disk(tmp_path: Path) -> None:
    many = np.random.default_rng(2).normal(size=(2 * arrow_file.BATCH_ROWS + 5, DIMS)).astype(np.float32)
    write_parquet(tmp_path / "a.parquet", table(many, np.arange(len(many))))
    vectors, ids = read_vectors(tmp_path / "a.parquet", scratch=tmp_path)
    np.testing.assert_array_equal(vectors, many)
    np.testing.assert_array_equal(ids, np.arange(len(many)))
    assert isinstance(vectors.base, mmap.mmap)
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]  # the other one has no name


def test_a_disk_too_small_to_decode_to_is_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    many = np.zeros((arrow_file.BATCH_ROWS + 1, DIMS), np.float32)
    write_parquet(tmp_path / "a.parquet", table(many, np.arange(len(many))))
    with pytest.raises(OSError, match=r"a\.parquet: its header means .* has no room") as raised:
        read_vectors(tmp_path / "a.parquet", scratch=tmp_path)
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize("on_disk", [False, True])
def test_more_rows_than_can_be_addressed_are_named_with_the_file(tmp_path: Path, on_disk: bool) -> None:
    with pytest.raises(ValueError, match=r"a\.parquet: its header means an array of"):
        arrow_file._empty(tmp_path / "a.parquet", (2**62, 4), np.dtype("f4"), tmp_path if on_disk else None)


def test_an_uncompressed_arrow_file_of_one_batch_stays_mapped(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    write_arrow(tmp_path / "a.arrow", table(np.ones((1000, 64), np.float32), np.arange(1000)))
    allocated = pa.total_allocated_bytes()
    vectors, _ = read_vectors(tmp_path / "a.arrow")
    assert pa.total_allocated_bytes() - allocated < vectors.nbytes / 100  # pyarrow keeps the headers
    assert not vectors.flags.owndata
    assert not vectors.flags.writeable


def test_ids_may_be_missing_and_of_any_integer_type(tmp_path: Path) -> None:
    write_arrow(tmp_path / "a.arrow", table().drop_columns("id"))
    assert read_vectors(tmp_path / "a.arrow")[1] is None
    write_arrow(tmp_path / "a.arrow", table(ids=IDS.astype(np.uint8)))
    np.testing.assert_array_equal(read_vectors(tmp_path / "a.arrow")[1], IDS)


def test_what_is_read_builds_an_index_that_answers_with_its_ids(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", table())
    vectors, ids = read_vectors(tmp_path / "a.parquet")
    _, found = adanns.ExactIndex(metric="l2").build(vectors, ids).search(VECTORS, k=1)
    np.testing.assert_array_equal(found[:, 0], IDS)


def lists(rows: list[Any], kind: str = "float") -> Any:
    pa = pytest.importorskip("pyarrow")
    return pa.table({"embedding": pa.array(rows, pa.list_({"float": pa.float32(), "double": pa.float64()}[kind]))})


BAD_TABLES: dict[str, tuple[Callable[[], Any], str]] = {
    "null row": (lambda: lists([[1, 2]] * 9 + [None]), "column 'embedding', row 9: null"),
    "null value": (lambda: lists([[1, 2]] * 9 + [[1, None]]), "column 'embedding values', row 9: null"),
    "short row": (lambda: lists([[1, 2]] * 9 + [[1]]), "column 'embedding', row 9: 1 values; expected 2"),
    "short batch": (lambda: lists([[1, 2]] * 8 + [[1]] * 8), "rows 8 to 15 have 1 dims; expected 16 rows of 2"),
    "empty row": (lambda: lists([[]]), "column 'embedding', row 0: an empty list"),
    "no rows": (lambda: lists([]), "no rows"),
    "float64": (lambda: lists([[1]], "double"), r"column 'embedding' has type list<.*double>; expected lists of half"),
    "no lists": (lambda: table().drop_columns("embedding").rename_columns(["embedding", "id"]), ".* has type string"),
    "no column": (lambda: table().drop_columns("embedding"), r"columns \['text', 'id'\]; expected one named 'embeddin"),
    "two columns": (lambda: table().rename_columns(["id", "id", "embedding"]), "2 columns named 'id'"),
    "null id": (lambda: table(ids=[*range(ROWS - 1), None]), f"column 'id', row {ROWS - 1}: null"),
    "id of text": (lambda: table(ids=["x"] * ROWS), "column 'id' has type string; expected integers"),
    "id too large": (
        lambda: table(ids=np.full(ROWS, 2**63, np.uint64)),
        "column 'id', row 0: 9223372036854775808; ids",
    ),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_columns_are_refused_with_file_and_row(tmp_path: Path, case: str) -> None:
    content, message = BAD_TABLES[case]
    write_feather(tmp_path / "a.feather", content())
    with pytest.raises(ValueError, match=rf"/a\.feather: {message}"):
        read_vectors(tmp_path / "a.feather")


def test_fewer_rows_than_the_header_says_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "a.parquet", table())
    content = table().to_batches()
    # What pyarrow makes of such a file depends on its version; the rest of the array would be whatever memory held.
    monkeypatch.setattr(arrow_file, "_open_parquet", lambda file: (content[0].schema, ROWS + 1, content))
    with pytest.raises(ValueError, match=rf"/a\.parquet: truncated: {ROWS} rows, but its header means {ROWS + 1}"):
        read_vectors(tmp_path / "a.parquet")


def test_list_offsets_beyond_the_values_are_refused(tmp_path: Path) -> None:
    write_arrow(tmp_path / "a.arrow", table())
    offsets = np.arange(0, (ROWS + 1) * DIMS, DIMS, dtype=np.int32)
    content = (tmp_path / "a.arrow").read_bytes()
    assert content.count(offsets.tobytes()) == 1
    (tmp_path / "a.arrow").write_bytes(content.replace(offsets.tobytes(), (offsets + 2**20).tobytes()))
    with pytest.raises(ValueError, match=r"/a\.arrow: damaged, .* offset"):  # unchecked, a read of foreign memory
        read_vectors(tmp_path / "a.arrow")


def test_a_stream_cut_between_batches_is_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink:
        writer = pa.ipc.new_stream(sink, table().schema)
        writer.write_table(table())
        cut = sink.tell()  # pyarrow reads such a stream as a whole one
        writer.close()
    os.truncate(tmp_path / "a.arrow", cut)
    with pytest.raises(ValueError, match=r"/a\.arrow: truncated or overlong"):
        read_vectors(tmp_path / "a.arrow")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r"/a\.parquet is read with pyarrow: pip install pyarrow \(or adanns\[files\]\)"
    ):
        read_vectors(tmp_path / "a.parquet")


# ---- any kind


@pytest.mark.parametrize("name", ["a.npy", "a.fbin", "a.parquet", "a.feather", "b.arrow"])
def test_missing_files_folders_and_other_content_are_named(tmp_path: Path, name: str) -> None:
    if name not in ("a.npy", "a.fbin"):
        pytest.importorskip("pyarrow")
    with pytest.raises(FileNotFoundError, match=f"/{name}: no such file"):
        read_vectors(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError, match=f"/{name}: a folder; expected a file"):
        read_vectors(tmp_path / name)
    (tmp_path / name).rmdir()
    for content in (b"", b"x", bytes(1000)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"/{name}: "):
            read_vectors(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["a.npy", "a.fbin", "a.parquet", "a.feather"])
def test_a_file_that_may_not_be_read_is_a_permission_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch(mode=0o000)
    with pytest.raises(PermissionError, match=name):
        read_vectors(tmp_path / name)


def test_unknown_suffixes_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"/a\.csv: unknown kind of file; .* \.npy, \.fbin, \.parquet"):
        read_vectors(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", [".fbin", ".parquet", ".feather"])
def test_a_folder_may_hold_other_kinds_of_files(tmp_path: Path, suffix: str) -> None:
    for part, vectors in ("database", VECTORS), ("queries", VECTORS[:3]):
        if suffix == ".fbin":
            write_fbin(tmp_path / f"{part}.fbin", vectors)
        else:
            write = {".parquet": write_parquet, ".feather": write_feather}[suffix]
            write(tmp_path / f"{part}{suffix}", table(vectors, np.arange(len(vectors))))
    dataset = datasets.load(f"npy:{tmp_path}")
    np.testing.assert_array_equal(dataset.database, VECTORS)
    np.testing.assert_array_equal(dataset.queries, VECTORS[:3])
    np.save(tmp_path / "queries.npy", VECTORS)
    with pytest.raises(ValueError, match=rf"/queries\{suffix}: there is queries\.npy, too"):
        datasets.load(f"npy:{tmp_path}")


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "a.npy", VECTORS)
    write_fbin(folder / "a.fbin", VECTORS)
    for name, write in WRITERS.values():
        write(folder / name, table())
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("name", ["a.npy", "a.fbin", "a.parquet", "a.feather", "a.arrow", "b.arrow"])
@given(
    cut=st.one_of(st.none(), st.floats(0, 1, exclude_max=True)),
    extra=st.binary(max_size=20),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
)
def test_damage_is_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory,
    whole_files: dict[str, bytes],
    name: str,
    cut: float | None,
    extra: bytes,
    changes: list[tuple[float, int]],
) -> None:
    content = bytearray(whole_files[name])
    for place, value in changes:
        content[int(place * len(content))] = value
    if cut is not None:
        del content[int(cut * len(content)) :]
    file = tmp_path_factory.getbasetemp() / name
    file.write_bytes(content + extra)
    try:
        vectors, _ = read_vectors(file)
    except (ValueError, OSError) as error:
        assert str(file) in str(error)
    else:  # values may differ, which no format notices by itself
        assert vectors.ndim == 2
        assert len(content) + len(extra) >= len(whole_files[name]) or name.endswith((".parquet", ".arrow", ".feather"))
