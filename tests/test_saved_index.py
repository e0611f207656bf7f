"""Does `load` give back what `save` wrote, and refuse everything else?"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes import FOREIGN_DIMS, METRICS, PRECISIONS, RECIPES, ROWS, assert_same, built, rows_of
from twins import segment_of

import adanns
from adanns.storage.segment import read_segment, write_segment

QUERIES = rows_of(9, seed=1)

every_recipe = pytest.mark.parametrize("name", RECIPES)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", METRICS)
@every_recipe
def test_a_loaded_index_searches_as_the_saved_one(
    name: str, metric: str, precision: str, mmap: bool, tmp_path: Path
) -> None:
    index, recipe = built(name, metric, precision), RECIPES[name]
    index.save(tmp_path / "index")
    loaded = adanns.load(tmp_path / "index", mmap=mmap)
    assert type(loaded) is type(index)
    for what in ("parameters", "rows", "dims", "ladder", "bytes_per_vector"):
        assert getattr(loaded, what) == getattr(index, what)
    assert_same(recipe.search(loaded, QUERIES), recipe.search(index, QUERIES))
    assert_same(recipe.exhaustive(loaded, QUERIES, dims=33), recipe.exhaustive(index, QUERIES, dims=33))


@every_recipe
def test_a_loaded_index_can_be_saved_again_and_rebuilt(name: str, tmp_path: Path) -> None:
    index, recipe = built(name), RECIPES[name]
    index.save(str(tmp_path / "deep" / "one"))
    loaded = adanns.load(str(tmp_path / "deep" / "one"), mmap=True)
    loaded.save(tmp_path / "two")
    loaded.save(tmp_path / "deep" / "one")  # over the files that it maps
    for folder in (tmp_path / "two", tmp_path / "deep" / "one"):
        assert_same(recipe.search(adanns.load(folder), QUERIES), recipe.search(index, QUERIES))
    assert_same(recipe.search(loaded, QUERIES), recipe.search(index, QUERIES))
    recipe.build(loaded, rows_of(50, seed=5))
    assert loaded.rows == 50
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["deep", "one", "two"]


@every_recipe
def test_saving_replaces_an_index_as_a_whole(name: str, tmp_path: Path) -> None:
    built("mg-ivf").save(tmp_path / "index")
    built(name, "ip", "int8").save(tmp_path / "index")
    built(name, "ip", "int8").save(tmp_path / "fresh")
    files = sorted(path.name for path in (tmp_path / "index").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "fresh").iterdir())


def test_saving_does_not_touch_what_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    (tmp_path / "file").write_text("text")
    for name in ("photos", "file"):
        with pytest.raises(FileExistsError, match=f"{name} exists and is not a saved index; choose another folder"):
            built("exact").save(tmp_path / name)
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "cat"
    assert (tmp_path / "file").read_text() == "text"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_cannot_be_saved_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built("exact").save(tmp_path / "index")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk is full"):
        patched.setattr("adanns.storage.segment._write_array", full_disk)
        built("funnel-codes").save(tmp_path / "index")
    assert isinstance(adanns.load(tmp_path / "index"), adanns.ExactIndex)
    assert len(list(tmp_path.iterdir())) == 1


def full_disk(*arguments: Any, **keywords: Any) -> None:
    raise OSError("the disk is full")


def test_a_missing_index_is_a_missing_file(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match=r"holds no saved index: manifest.json is missing"):
            adanns.load(folder)


def manifest_with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        changed = change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest if changed is None else changed))

    return spoil


def header_with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Another header of the segment; the arrays behind it stay."""

    def spoil(folder: Path) -> None:
        content = segment_of(folder).read_bytes()
        first = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:first])
        changed = change(header)
        text = json.dumps(header if changed is None else changed).encode()
        text += b" " * (-(8 + len(text)) % 64)
        segment_of(folder).write_bytes(len(text).to_bytes(8, "little") + text + content[first:])

    return spoil


def array_with(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Another array in the file, and in its header, as if it had been meant; None: no such array."""

    def spoil(folder: Path) -> None:
        path = segment_of(folder)
        metadata, arrays = read_segment(path, mmap=False, verify=False)
        arrays[name] = change(arrays[name])
        path.unlink()
        write_segment(path, {key: array for key, array in arrays.items() if array is not None}, metadata)

    return spoil


def described_with(**changes: Any) -> Callable[[Path], None]:
    """Another description of the index, in the manifest and in the segment alike."""

    def spoil(folder: Path) -> None:
        manifest_with(lambda manifest: manifest.update(changes))(folder)
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
        header_with(lambda header: header["__metadata__"].update(texts))(folder)

    return spoil


def parameters_with(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        parameters = json.loads((folder / "manifest.json").read_text())["parameters"]
        described_with(parameters=parameters | changes)(folder)

    return spoil


def entry_with(**changes: Any) -> Callable[[Path], None]:
    """Another entry of the ids in the segment's header."""
    return header_with(lambda header: header["ids"].update(changes))


def bytes_with(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: segment_of(folder).write_bytes(change(segment_of(folder).read_bytes())) and None


CORRUPTIONS: dict[str, Callable[[Path], Any]] = {
    "an empty manifest": lambda folder: (folder / "manifest.json").write_text(""),
    "half a manifest": lambda folder: truncate(folder / "manifest.json", 200),
    "a manifest of bytes": lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "a manifest without end": lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
    "a manifest that is a list": manifest_with(lambda manifest: [manifest]),
    "a manifest of something else": manifest_with(lambda manifest: manifest.update(format="another program")),
    "no format": manifest_with(lambda manifest: manifest.pop("format") and None),
    "no version": manifest_with(lambda manifest: manifest.pop("version") and None),
    "a version of text": manifest_with(lambda manifest: manifest.update(version="one")),
    "no kind": manifest_with(lambda manifest: manifest.pop("kind") and None),
    "a kind that is a number": manifest_with(lambda manifest: manifest.update(kind=1)),
    "an unknown kind": described_with(kind="graph"),
    "another kind": described_with(kind="exact"),
    "another kind than the segment's": manifest_with(lambda manifest: manifest.update(kind="exact")),
    "other parameters than the segment's": manifest_with(lambda manifest: manifest["parameters"].update(seed=9)),
    "no segments": manifest_with(lambda manifest: manifest.update(segments=[])),
    "segments that are no list": manifest_with(lambda manifest: manifest.update(segments=7)),
    "a segment elsewhere": manifest_with(lambda manifest: manifest.update(segments=["../segment-1.safetensors"])),
    "a segment that is a number": manifest_with(lambda manifest: manifest.update(segments=[1])),
    "a segment of another name": manifest_with(lambda manifest: manifest.update(segments=["manifest.json"])),
    "a missing segment": lambda folder: segment_of(folder).unlink(),
    "an empty segment": bytes_with(lambda content: b""),
    "a segment of three bytes": bytes_with(lambda content: content[:3]),
    "a segment of a length": bytes_with(lambda content: content[:8]),
    "a header beyond the file": bytes_with(lambda content: (1 << 40).to_bytes(8, "little") + content[8:]),
    "a header of all there is": bytes_with(lambda content: (len(content) - 8).to_bytes(8, "little") + content[8:]),
    "half a header": bytes_with(lambda content: (64).to_bytes(8, "little") + content[8:]),
    "a header of brackets": bytes_with(lambda content: (8000).to_bytes(8, "little") + b"[" * 8000 + content[8008:]),
    "a truncated segment": bytes_with(lambda content: content[:-1]),
    "a segment with more behind": bytes_with(lambda content: content + bytes(64)),
    "a header that is a list": header_with(lambda header: [header]),
    "no metadata": header_with(lambda header: header.pop("__metadata__") and None),
    "metadata that are a list": header_with(lambda header: header.update(__metadata__=[])),
    "metadata that are numbers": header_with(lambda header: header["__metadata__"].update(kind=1)),
    "no checksums": header_with(lambda header: header["__metadata__"].pop("crc32") and None),
    "checksums that are no numbers": header_with(lambda header: header["__metadata__"].update(crc32='{"ids": "x"}')),
    "an entry that is text": header_with(lambda header: header.update(ids="I64")),
    "an entry without a shape": header_with(lambda header: header["ids"].pop("shape") and None),
    "a dtype of objects": entry_with(dtype="O"),
    "a dtype that is a list": entry_with(dtype=["I64"]),
    "a larger shape": entry_with(shape=[ROWS + 1]),
    "a shape beyond all memory": entry_with(shape=[1 << 62, 1 << 62]),
    "a negative shape": entry_with(shape=[-1, -ROWS]),
    "a shape of text": entry_with(shape="307"),
    "a shape of fractions": entry_with(shape=[307.0]),
    "an array that begins within another": header_with(
        lambda header: header["ids"].update(data_offsets=[offset + 8 for offset in header["ids"]["data_offsets"]])
    ),
    "an array that is not named": header_with(lambda header: header.pop("ids") and None),
    "no ids": array_with("ids", lambda ids: None),
    "no planes": array_with("plane_0", lambda plane: None),
    "parameters that are a list": described_with(parameters=[]),
    "parameters of another class": parameters_with(neighbours=32),
    "no ladder": parameters_with(ladder=None),
    "an empty ladder": parameters_with(ladder=[]),
    "a ladder beyond the planes": parameters_with(ladder=[5, 16, 33, 65, 500]),
    "a ladder without the rung of the code": parameters_with(ladder=[5, 16, 65, 100]),
    "an unknown metric": parameters_with(metric="hamming"),
    "a metric with no terms": parameters_with(metric="ip"),
    "another precision": parameters_with(precision={"16": "float32", "100": "int8"}),
    "scan dims off the ladder": parameters_with(scan_dims=34),
    "scan dims beyond the vectors": parameters_with(scan_dims=1 << 20),
    "a plane of another float type": array_with("plane_0", lambda plane: plane.astype(np.float32)),
    "ids of another type": array_with("ids", lambda ids: ids.astype(np.int32)),
    "fewer ids than rows": array_with("ids", lambda ids: ids[:-1]),
    "more ids than rows": array_with("ids", lambda ids: np.append(ids, 0)),
    "planes of double precision": array_with("plane_0", lambda plane: plane.astype(np.float64)),
    "planes with short rows": array_with("plane_0", lambda plane: np.ascontiguousarray(plane[:, :16])),
    "planes with unpadded rows": array_with("plane_0", lambda plane: np.ascontiguousarray(plane[:, :-3])),
    "planes in one dimension": array_with("plane_0", lambda plane: plane.ravel()),
    "terms of half precision": array_with("terms", lambda terms: terms.astype(np.float16)),
    "too few rungs of terms": array_with("terms", lambda terms: terms[:-1]),
    "terms without room behind": array_with("terms", lambda terms: np.ascontiguousarray(terms[:, :ROWS])),
    "too few code blocks": array_with("code_blocks", lambda blocks: blocks[:-1]),
    "code blocks of fewer dims": array_with("code_blocks", lambda blocks: np.ascontiguousarray(blocks[:, :-64])),
    "too few code scales": array_with("code_scales", lambda scales: scales[:-1]),
    "code scales of half precision": array_with("code_scales", lambda scales: scales.astype(np.float16)),
    "no code scales": array_with("code_scales", lambda scales: scales[:0]),
    "lists that descend": array_with("list_offsets", lambda offsets: offsets[[0, 3, 2, 4, 5, 6, 7, 7]]),
    "lists from before the first row": array_with("list_offsets", lambda offsets: np.append(-1, offsets[1:])),
    "lists from behind the first row": array_with("list_offsets", lambda offsets: np.append(1, offsets[1:])),
    "lists beyond the last row": array_with("list_offsets", lambda offsets: np.append(offsets[:-1], ROWS + 1)),
    "lists of another type": array_with("list_offsets", lambda offsets: offsets.astype(np.int32)),
    "no lists": array_with("list_offsets", lambda offsets: offsets[-1:]),
    "more lists than centroids": array_with(
        "list_offsets", lambda offsets: np.append(np.zeros(20, np.int64), offsets)
    ),
    "fewer dims of centroids": array_with("centroid_scales", lambda scales: scales[:-4]),
    "a ladder of other centroids": array_with("centroid_ladder", lambda ladder: ladder[:-1]),
    "an empty ladder of centroids": array_with("centroid_ladder", lambda ladder: ladder[:0]),
}  # fmt: skip


CODE_CORRUPTIONS: dict[str, Callable[[Path], Any]] = {
    "no blocks": array_with("table_blocks", lambda blocks: None),
    "too few blocks": array_with("table_blocks", lambda blocks: blocks[:-1]),
    "blocks of fewer bytes": array_with("table_blocks", lambda blocks: np.ascontiguousarray(blocks[:, :-1])),
    "no rungs": array_with("table_rungs", lambda rungs: rungs[:0]),
    "rungs in one dimension": array_with("table_rungs", np.ravel),
    "rungs that descend": array_with("table_rungs", lambda rungs: rungs[::-1].copy()),
    "rungs of no segment": array_with("table_rungs", lambda rungs: rungs * np.array([1, 0], np.int32)),
    "no segments": array_with("table_segment_ends", lambda ends: ends[:0]),
    "segments that descend": array_with("table_segment_ends", lambda ends: ends[::-1].copy()),
    "segments of negative dims": array_with("table_segment_ends", np.negative),
    "more dims of segments than of the rotation": array_with("table_segment_ends", lambda ends: 2 * ends),
    "a rotation of fewer dims": array_with("table_rotation", lambda rotation: rotation[:-1].copy()),
    "no codebooks": array_with("table_codebooks", lambda books: books[:0]),
    "shorter codebooks": array_with("table_codebooks", lambda books: books[:-5]),
    "fewer centroids": array_with("table_centroids", lambda centroids: centroids[:-1].copy()),
    "centroids of fewer dims": array_with("table_centroids", lambda centroids: centroids[:, 1:].copy()),
    "zero rows beyond the last": array_with("zero_rows", lambda rows: rows + ROWS),
    "zero rows of another type": array_with("zero_rows", lambda rows: rows.astype(np.float64)),
}


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("case", CORRUPTIONS)
def test_a_corrupt_index_is_refused(case: str, mmap: bool, tmp_path: Path) -> None:
    built("ivf-codes", "cosine", "float16").save(tmp_path / "index")
    CORRUPTIONS[case](tmp_path / "index")
    with pytest.raises(adanns.CorruptIndexError, match=re.escape(str(tmp_path / "index"))):
        adanns.load(tmp_path / "index", mmap=mmap)


@pytest.mark.parametrize("precision", [None, "float32"])
@pytest.mark.parametrize("case", CODE_CORRUPTIONS)
def test_a_corrupt_code_is_refused(case: str, precision: Any, tmp_path: Path) -> None:
    rows = rows_of(ROWS).copy()
    rows[7] = 0
    RECIPES["compact"].make(precision=precision).build(rows).save(tmp_path / "index")
    CODE_CORRUPTIONS[case](tmp_path / "index")
    with pytest.raises(adanns.CorruptIndexError, match=re.escape(str(tmp_path / "index"))):
        adanns.load(tmp_path / "index")


@pytest.mark.parametrize("version", [1, 4, 99, 0])
def test_an_index_of_another_version_is_refused(version: int, tmp_path: Path) -> None:
    built("exact").save(tmp_path / "index")
    (tmp_path / "index" / "manifest.json").write_text(json.dumps({"format": "adanns", "version": version, "new": True}))
    message = f"format version {version}; this adanns reads versions 1, 2 and 3"
    with pytest.raises(adanns.IncompatibleVersionError, match=message):
        adanns.load(tmp_path / "index")


@every_recipe
def test_truncating_any_file_anywhere_is_noticed(name: str, tmp_path: Path) -> None:
    built(name, "cosine", "mixed").save(tmp_path / "index")
    generator = np.random.default_rng(0)
    for path in [tmp_path / "index" / "manifest.json", segment_of(tmp_path / "index")]:
        whole = path.read_bytes()
        for size in {0, 1, 64, len(whole) - 1, *generator.integers(1, len(whole), 3).tolist()}:
            path.write_bytes(whole[:size])
            with pytest.raises(adanns.CorruptIndexError):
                adanns.load(tmp_path / "index")
        path.write_bytes(whole)
    adanns.load(tmp_path / "index")


def test_a_saved_index_does_not_depend_on_where_it_lies(tmp_path: Path) -> None:
    built("mg-ivf").save(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    loaded: Any = adanns.load(tmp_path / "there")
    assert loaded.lists == built("mg-ivf").lists
    routing = np.ones((9, FOREIGN_DIMS), np.float32)
    expected = built("mg-ivf").search(QUERIES, routing_queries=routing)
    assert_same(loaded.search(QUERIES, routing_queries=routing), expected)
