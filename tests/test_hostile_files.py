"""Does opening any bytes whatever end in an index or a named error, and does `verify` see every flipped byte?

The engine goes where an index's integers say: what is here once crashed, hung, read beyond an array or ended in an
error that said nothing of a file. tools/fuzz_storage.py looks for more, under AddressSanitizer.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_files
import numpy as np
import pytest
from recipes import LADDER, RECIPES, built, rows_of
from twins import segment_of

import adanns
from adanns.storage.segment import read_segment, write_segment

GOLDEN = Path(__file__).parent / "golden" / "version-1"
INPUTS = 2000


def test_damaged_files_are_refused_or_searched(tmp_path: Path) -> None:
    ends = set()
    for number in range(INPUTS):
        dice = random.Random(f"test {number}")
        folder = tmp_path / str(number)
        folder.mkdir()
        way = hostile_files.damage(folder, dice.choice(hostile_files.corpus()), dice)
        ends.add((way, hostile_files.attempt(folder, dice)))
    assert {end for _, end in ends} == {"refused", "opened"}
    assert len({way for way, _ in ends}) == 5


@pytest.mark.parametrize("name", RECIPES)
def test_verify_sees_a_flipped_byte_of_any_array_and_of_the_header(name: str, tmp_path: Path) -> None:
    built(name, "l2", "mixed").save(tmp_path / "index")
    path = segment_of(tmp_path / "index")
    content = path.read_bytes()
    first = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:first])
    places = {f"array {name} does not": e["data_offsets"] for name, e in header.items() if name[:2] not in ("__", "pa")}
    for message, (begin, end) in places.items():
        for position in {begin, (begin + end) // 2, end - 1}:
            expect_refusal(path, content, first + position, message)
    expect_refusal(path, content, content.index(b"kind"), "header is not the one that the file is named after")
    expect_refusal(path, content, first - 1, "header")  # white space
    assert adanns.load(tmp_path / "index", verify=True).rows == built(name).rows


def expect_refusal(path: Path, content: bytes, position: int, message: str) -> None:
    damaged = bytearray(content)
    damaged[position] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(adanns.CorruptIndexError, match=message):
        adanns.load(path.parent, verify=True)
    path.write_bytes(content)


def respelt(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """The index of a folder with arrays and parameters changed, as a whole file with correct checksums."""
    path = segment_of(folder)
    metadata, arrays = read_segment(path, mmap=False, verify=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    change(arrays, manifest["parameters"])
    metadata["parameters"] = json.dumps(manifest["parameters"])
    path.unlink()
    write_segment(path, {name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def code_of_more_dims_than_there_are(arrays: dict[str, Any], parameters: dict[str, Any]) -> None:
    arrays["table_rungs"] = np.array([*arrays["table_rungs"][:-1], [4000, arrays["table_rungs"][-1, 1]]], np.int32)
    arrays["table_rotation"] = np.zeros((len(arrays["table_rotation"]), 4000), np.float32)


def centroids_on_a_ladder_that_falls(arrays: dict[str, Any], parameters: dict[str, Any]) -> None:
    arrays["centroid_ladder"][0] = -5


def codebooks_without_dims(arrays: dict[str, Any], parameters: dict[str, Any]) -> None:
    arrays["table_segment_ends"] = np.zeros((3, 0), np.int32)


def dims_beyond_int32(arrays: dict[str, Any], parameters: dict[str, Any]) -> None:
    parameters["ladder"] = [*LADDER[:-1], 2**40]


def bits_that_are_no_integer(arrays: dict[str, Any], parameters: dict[str, Any]) -> None:
    parameters["bits"] = [4]


@pytest.mark.parametrize(
    "change",
    [
        code_of_more_dims_than_there_are,
        centroids_on_a_ladder_that_falls,
        codebooks_without_dims,
        dims_beyond_int32,
        bits_that_are_no_integer,
    ],
    ids=lambda change: change.__name__.replace("_", " "),
)
def test_arrays_that_do_not_fit_each_other_are_refused(change: Callable[..., None], tmp_path: Path) -> None:
    built("compact").save(tmp_path / "index")
    with pytest.raises(adanns.CorruptIndexError, match=r"does not hold a compact index as its manifest says: .+"):
        adanns.load(respelt(tmp_path / "index", change))


@pytest.mark.parametrize("what", ["manifest.json", "segment"])
def test_a_pipe_is_not_waited_for(what: str, tmp_path: Path) -> None:
    built("exact").save(tmp_path / "index")
    path = segment_of(tmp_path / "index") if what == "segment" else tmp_path / "index" / what
    path.unlink()
    os.mkfifo(path)
    with pytest.raises((adanns.CorruptIndexError, FileNotFoundError), match="is missing"):
        adanns.load(tmp_path / "index")


def test_a_manifest_that_claims_much_is_not_read(tmp_path: Path) -> None:
    built("exact").save(tmp_path / "index")
    os.truncate(tmp_path / "index" / "manifest.json", 1 << 40)  # sparse: it takes no room
    with pytest.raises(adanns.CorruptIndexError, match="more than the manifest ever is"):
        adanns.load(tmp_path / "index")


@pytest.mark.parametrize("header", [b"{'descr': '<f4', (", b"'''", b"\xff\xff", b"{'descr': '<f4', 'shape': (1,), "])
def test_an_old_file_whose_header_is_no_python_is_refused(header: bytes, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", GOLDEN / "exact", tmp_path / "index"], check=True)
    content = (tmp_path / "index" / "ids.npy").read_bytes()
    (tmp_path / "index" / "ids.npy").write_bytes(content[:10] + header + b"\n" + content[11 + len(header) :])
    with pytest.raises(adanns.CorruptIndexError, match=r"ids\.npy cannot be read"):
        adanns.load(tmp_path / "index")


def test_an_old_file_whose_header_claims_much_is_not_read(tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", GOLDEN / "exact", tmp_path / "index"], check=True)
    content = (tmp_path / "index" / "ids.npy").read_bytes()
    (tmp_path / "index" / "ids.npy").write_bytes(content[:6] + b"\x02\x00\xff\xff\xff\x7f" + content[10:])
    with pytest.raises(adanns.CorruptIndexError, match=r"ids\.npy is no \.npy file of version 1\.0"):
        adanns.load(tmp_path / "index")


def test_an_old_index_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", GOLDEN / "exact", tmp_path / "index"], check=True)
    np.save(tmp_path / "secret.npy", rows_of(3))
    header = json.loads((tmp_path / "index" / "index.json").read_text())
    header["arrays"]["../secret"] = {"dtype": "<f4", "shape": [3, 100]}
    (tmp_path / "index" / "index.json").write_text(json.dumps(header))
    with pytest.raises(adanns.CorruptIndexError, match=r"an array is named '\.\./secret'"):
        adanns.load(tmp_path / "index")


@pytest.mark.parametrize("mmap", [False, True])
def test_old_arrays_off_the_cache_lines_are_read_onto_them(mmap: bool, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", GOLDEN / "exact", tmp_path / "index"], check=True)
    path = tmp_path / "index" / "plane_0.npy"
    plane, content = np.load(path), path.read_bytes()
    length = int.from_bytes(content[8:10], "little") - 3
    header = content[10 : 10 + length - 1].rstrip() + b"\n"
    path.write_bytes(content[:8] + len(header).to_bytes(2, "little") + header + plane.tobytes())
    assert adanns.load(tmp_path / "index", mmap=mmap).arrays["plane_0"].ctypes.data % 64 == 0
