"""Can an index on disk be trusted: valid safetensors, whole after any crash, one writer, old versions read?"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes import RECIPES, assert_same, built, rows_of
from safetensors import safe_open
from twins import segment_of

import adanns
from adanns.indexes import INDEX_CLASSES
from adanns.storage.segment import ALIGNMENT, read_segment, write_segment

QUERIES = rows_of(9, seed=1)
GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(GOLDEN.iterdir())
ARRAYS = {
    "empty": np.empty((0, 3), np.float32),
    "one": np.ones(1, np.int8),
    "scalar": np.array(5, np.int64),
    "halves": np.arange(33, dtype=np.float16).reshape(3, 11),
    "doubles": np.linspace(0, 1, 1000),
    "bytes": np.arange(200, dtype=np.uint8).reshape(2, 4, 25),
}


@pytest.mark.parametrize("mmap", [False, True])
def test_arrays_come_back_as_they_were_on_cache_lines(mmap: bool, tmp_path: Path) -> None:
    write_segment(tmp_path / "file", ARRAYS, {"what": "a test"})
    metadata, arrays = read_segment(tmp_path / "file", mmap=mmap, verify=True)
    assert metadata["what"] == "a test"
    assert list(arrays) == list(ARRAYS)
    for name, array in arrays.items():
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.size == 0 or array.ctypes.data % ALIGNMENT == 0


def test_any_reader_of_safetensors_reads_a_segment(tmp_path: Path) -> None:
    built("compact").save(tmp_path / "index")
    _, arrays = read_segment(segment_of(tmp_path / "index"), mmap=False, verify=True)
    with safe_open(segment_of(tmp_path / "index"), "np") as file:
        assert file.metadata()["kind"] == "compact"
        assert {name for name in file.keys() if not name.startswith("padding.")} == set(arrays)  # noqa: SIM118
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


def test_what_another_program_wrote_unaligned_is_read_onto_cache_lines(tmp_path: Path) -> None:
    write_segment(tmp_path / "file", ARRAYS, {})
    content = (tmp_path / "file").read_bytes()
    first = 8 + int.from_bytes(content[:8], "little")
    header = content[8:first] + b"  "  # two bytes longer: everything behind moves
    (tmp_path / "file").write_bytes(len(header).to_bytes(8, "little") + header + content[first:])
    for name, array in read_segment(tmp_path / "file", mmap=True, verify=True)[1].items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.flags.aligned


@pytest.mark.parametrize("name", RECIPES)
def test_a_flipped_bit_is_found_when_asked_for(name: str, tmp_path: Path) -> None:
    built(name, "l2", "float16").save(tmp_path / "index")
    path = segment_of(tmp_path / "index")
    content = bytearray(path.read_bytes())
    first = 8 + int.from_bytes(content[:8], "little")
    _, arrays = read_segment(path, mmap=True, verify=True)
    position = first + content[first:].index(arrays["ids"].tobytes())
    content[position + 5] ^= 16
    path.write_bytes(content)
    with pytest.raises(adanns.CorruptIndexError, match="array ids does not have the checksum"):
        adanns.load(tmp_path / "index", verify=True)
    adanns.load(tmp_path / "index")


def test_what_is_on_disk_already_is_not_written_again(tmp_path: Path) -> None:
    index: Any = adanns.ExactIndex().build(rows_of(50))
    index.save(tmp_path / "index")
    segment = segment_of(tmp_path / "index")
    before = segment.stat()
    index.save(tmp_path / "index")
    adanns.load(tmp_path / "index", mmap=True).save(tmp_path / "index")
    assert (segment.stat().st_ino, segment.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    index.build(rows_of(60)).save(tmp_path / "index")
    assert not segment.exists()
    assert adanns.load(tmp_path / "index").rows == 60


def test_an_empty_folder_can_be_saved_to(tmp_path: Path) -> None:
    built("exact").save(tmp_path)
    assert adanns.load(tmp_path).rows == built("exact").rows


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    built("exact").save(tmp_path / "index")
    with (tmp_path / "index" / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(adanns.IndexLockedError, match="is being saved by another process; try again"):
            built("funnel-codes").save(tmp_path / "index")
        assert isinstance(adanns.load(tmp_path / "index"), adanns.ExactIndex)
    built("funnel-codes").save(tmp_path / "index")
    assert isinstance(adanns.load(tmp_path / "index"), adanns.FunnelIndex)


FAULTS: dict[str, str] = {
    "a full disk": "adanns.storage.segment._write_array",
    "a failing fsync": "os.fsync",
    "a failing rename": "pathlib.Path.rename",
    "a failing swap": "pathlib.Path.replace",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_saving_leaves_the_old_index_and_the_next_save_works(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = built("exact"), built("ivf-codes")
    old.save(tmp_path / "index")

    def fail(*arguments: Any, **keywords: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(FAULTS[fault], fail)
        new.save(tmp_path / "index")
    assert_same(adanns.load(tmp_path / "index", verify=True).search(QUERIES), old.search(QUERIES))
    new.save(tmp_path / "index")
    assert_same(adanns.load(tmp_path / "index", verify=True).search(QUERIES), new.search(QUERIES))
    assert len(list((tmp_path / "index").iterdir())) == 3


def system_calls(monkeypatch: pytest.MonkeyPatch, act: Callable[[str], None]) -> None:
    """`act` is called before every step of a save that changes the disk."""
    for place in (
        "os.fsync",
        "pathlib.Path.rename",
        "pathlib.Path.replace",
        "pathlib.Path.unlink",
        "pathlib.Path.open",
    ):
        owner, name = place.rsplit(".", 1)
        target = os if owner == "os" else Path
        original = getattr(target, name)

        def stepped(*arguments: Any, original: Any = original, name: str = name, **keywords: Any) -> Any:
            act(name)
            return original(*arguments, **keywords)

        monkeypatch.setattr(target, name, stepped)


def test_a_crash_before_any_step_leaves_the_old_index_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is tried: after it, what is on disk is copied aside, as a machine that stops there would leave it."""
    old, new = built("funnel-codes"), built("ivf-codes")
    old.save(tmp_path / "index")
    states: list[Path] = []

    def copy_aside(step: str) -> None:
        state = tmp_path / f"state-{len(states)}"
        states.append(state)
        subprocess.run(["cp", "-r", tmp_path / "index", state], check=True)

    with monkeypatch.context() as patched:
        system_calls(patched, copy_aside)
        new.save(tmp_path / "index")
    assert len(states) >= 8
    kinds = []
    for state in states:
        loaded = adanns.load(state, verify=True)
        expected = old if isinstance(loaded, adanns.FunnelIndex) else new
        kinds.append(loaded.kind)
        assert_same(loaded.search(QUERIES), expected.search(QUERIES))
        new.save(state)
        assert_same(adanns.load(state, verify=True).search(QUERIES), new.search(QUERIES))
        assert len(list(state.iterdir())) == 3
    assert kinds == sorted(kinds)  # funnel, then ivf: it changes once
    assert len(set(kinds)) == 2


SAVER = """
import sys, adanns, numpy as np
folder = sys.argv[1]
rows = np.random.default_rng(0).standard_normal((400, 32)).astype(np.float32)
indexes = [adanns.ExactIndex(metric="l2").build(rows[:n], progress=False) for n in (200, 400)]
print("ready", flush=True)
while True:
    for index in indexes:
        index.save(folder)
"""


@pytest.mark.parametrize("seed", range(4))
def test_killing_a_writer_at_any_moment_loses_nothing(seed: int, tmp_path: Path) -> None:
    generator = random.Random(seed)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path / "index")], stdout=subprocess.PIPE) as saver:
            assert saver.stdout is not None
            saver.stdout.readline()
            while not (tmp_path / "index" / "manifest.json").exists():
                time.sleep(0.001)
            for _ in range(20):  # read while it writes
                assert adanns.load(tmp_path / "index", verify=True).rows in (200, 400)
            time.sleep(generator.random() * 0.05)
            saver.send_signal(signal.SIGKILL)
        index = adanns.load(tmp_path / "index", verify=True)
        assert index.rows in (200, 400)
        assert (index.search(np.zeros(32, np.float32), 3).counts == 3).all()


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("kind", [index_class.kind for index_class in INDEX_CLASSES])
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_indices_of_every_version_load_and_find_what_they_found(version: Path, kind: str, mmap: bool) -> None:
    expected = np.load(version / "expected.npz")
    index: Any = adanns.load(version / kind, mmap=mmap, verify=True)
    assert index.kind == kind
    probes = {"probes": 5} if hasattr(index, "lists") else {}
    result = index.search(expected["queries"], 6, **probes)
    assert (result.ids == expected[f"{kind}_ids"]).all()
    np.testing.assert_allclose(result.distances, expected[f"{kind}_distances"], rtol=1e-5, atol=1e-6)


def test_an_old_index_is_saved_in_the_new_format(tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", GOLDEN / "version-1" / "ivf", tmp_path / "index"], check=True)
    adanns.load(tmp_path / "index", mmap=True).save(tmp_path / "index")
    assert sorted(path.suffix for path in (tmp_path / "index").iterdir()) == ["", ".json", ".safetensors"]
    expected = np.load(GOLDEN / "version-1" / "expected.npz")
    result = adanns.load(tmp_path / "index").search(expected["queries"], 6, probes=5)  # type: ignore[call-arg]
    assert (result.ids == expected["ivf_ids"]).all()


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    built("compact", "l2").save(tmp_path / "index")
    generator = np.random.default_rng(0)
    for path, number in itertools.product(
        (tmp_path / "index" / "manifest.json", segment_of(tmp_path / "index")), range(150)
    ):
        whole = path.read_bytes()
        content = bytearray(whole)
        for _ in range(generator.integers(1, 4)):
            reach = len(content) if number % 2 else min(len(content), 1500)
            content[generator.integers(reach)] = generator.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(adanns.CorruptIndexError, adanns.IncompatibleVersionError, FileNotFoundError):
            adanns.load(tmp_path / "index", mmap=bool(number % 3)).search(QUERIES, 3)
        path.write_bytes(whole)
