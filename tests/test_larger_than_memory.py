"""Can an index be larger than memory: opened without reading it, part of it in memory, built within a budget?"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from recipes import PRECISIONS, RECIPES, ROWS, assert_same, built, ids_of, rows_of
from twins import segment_of

import adanns
from adanns.arrays import mapping_of
from adanns.workspace import Workspace

QUERIES = rows_of(9, seed=1)
ROOT = Path(__file__).resolve().parents[1]
every_recipe = pytest.mark.parametrize("name", RECIPES)
linux = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads /proc")


def mapped_bytes(path: Path) -> int:
    """Of a file, in this process's memory."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@linux
@pytest.mark.parametrize(
    "make",
    [
        lambda: adanns.ExactIndex(),
        lambda: adanns.IVFIndex(lists=64, iterations=1, cluster_dims=16),
        lambda: adanns.OPQIndex(scan_dims=32, code_bytes=8, rotations=0, training_rows=1000),
        lambda: adanns.CompactIndex(8, lists=64, iterations=1, cluster_dims=16, rotations=0, training_rows=1000),
    ],
    ids=["exact", "ivf", "opq", "compact"],
)
def test_a_mapped_index_opens_without_being_read(make: Callable[[], Any], tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((40_000, 128)).astype(np.float32)
    make().build(rows).save(tmp_path / "index")
    size = segment_of(tmp_path / "index").stat().st_size
    began = time.perf_counter()
    index = adanns.load(tmp_path / "index", mmap=True)
    seconds = time.perf_counter() - began
    assert seconds < 0.5  # some milliseconds; machines stall
    assert mapped_bytes(segment_of(tmp_path / "index")) < min(size / 10, 1 << 20)
    assert index.rows == 40_000


@every_recipe
@pytest.mark.parametrize("memory_dims", [0, 1, 16, 1000])
def test_an_index_partly_in_memory_is_the_same(name: str, memory_dims: int, tmp_path: Path) -> None:
    index, recipe = built(name, "l2", "mixed"), RECIPES[name]
    index.save(tmp_path / "index")
    loaded = adanns.load(tmp_path / "index", mmap=True, memory_dims=memory_dims)
    assert_same(recipe.search(loaded, QUERIES), recipe.search(index, QUERIES))
    assert_same(recipe.exhaustive(loaded, QUERIES), recipe.exhaustive(index, QUERIES))
    on_disk = {array for array, values in loaded.arrays.items() if mapping_of(values) is not None}
    firsts = {"plane_0": 0, "plane_1": 16, "plane_2": 33, "plane_3": 65}
    assert on_disk == {plane for plane, first in firsts.items() if first >= memory_dims}


def test_a_changed_index_partly_in_memory_is_the_same(tmp_path: Path) -> None:
    recipe = RECIPES["compact"]
    index = recipe.build(recipe.make(), rows_of(ROWS), memory_budget=40_000_000, scratch=tmp_path)
    index.add(rows_of(50, seed=7))
    index.remove(range(0, ROWS, 3))
    index.save(tmp_path / "index")
    loaded = adanns.load(tmp_path / "index", mmap=True, memory_dims=33)
    assert_same(recipe.exhaustive(loaded, QUERIES), recipe.exhaustive(index, QUERIES))
    loaded.compact()
    assert_same(recipe.exhaustive(loaded, QUERIES), recipe.exhaustive(index, QUERIES))


def test_what_is_read_to_memory_is_asked_for_in_full(tmp_path: Path) -> None:
    built("exact").save(tmp_path / "index")
    with pytest.raises(ValueError, match="memory_dims=8 says what to read of a mapped index; pass mmap=True"):
        adanns.load(tmp_path / "index", memory_dims=8)
    with pytest.raises(ValueError, match="memory_dims=-1; expected 0 or more"):
        adanns.load(tmp_path / "index", mmap=True, memory_dims=-1)


def in_chunks(rows: NDArray[Any], ids: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    for start in range(0, len(rows), 100):
        yield rows[start : start + 100], ids[start : start + 100]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("metric", ["l2", "cosine"])
@every_recipe
def test_built_on_disk_it_is_the_same_bit_for_bit(
    name: str, metric: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "expect", lambda *_: None)  # so few rows fit in any budget that is enough for them
    index, recipe = built(name, metric, precision), RECIPES[name]
    rows, ids = rows_of(ROWS), ids_of(ROWS)
    budget: dict[str, Any] = {"memory_budget": 40_000, "scratch": tmp_path}
    whole = recipe.build(recipe.make(metric, PRECISIONS[precision]), rows, ids, **budget)
    chunks = recipe.make(metric, PRECISIONS[precision])
    recipe.build(chunks, in_chunks(rows, ids), rows=rows, **budget)
    for other in (whole, chunks):
        assert set(other.arrays) == set(index.arrays)
        for array, values in index.arrays.items():
            assert other.arrays[array].tobytes() == values.tobytes(), array
        assert mapping_of(other.arrays["plane_0"]) is not None
    assert not list(tmp_path.iterdir())
    whole.save(tmp_path / "index")
    assert_same(recipe.search(adanns.load(tmp_path / "index", verify=True), QUERIES), recipe.search(index, QUERIES))


def test_many_chunks_take_no_more_files_than_few(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, limits[1]))
    try:
        index: Any = adanns.ExactIndex(ladder=(50, 100))
        rows = rows_of(ROWS)
        index.build((rows[start : start + 1] for start in range(ROWS)), memory_budget=30_000, scratch=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert mapping_of(index.arrays["plane_0"]) is not None
    expected = adanns.ExactIndex(ladder=(50, 100)).build(rows)
    assert all((index.arrays[name] == array).all() for name, array in expected.arrays.items())


BUILDER = """
import re, sys
from pathlib import Path
import numpy as np
import adanns

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

vectors, budget = np.load(sys.argv[1], mmap_mode="r"), eval(sys.argv[3])
index = eval(sys.argv[4])
index.build(vectors[:2000], progress=False, threads=2)  # what is allocated once is
Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
before = peak()
index.build(vectors, progress=False, threads=2, **budget)
index.save(sys.argv[2])
print(peak() - before)
"""


@linux
@pytest.mark.parametrize("index", ["adanns.ExactIndex(metric='l2')", "adanns.IVFIndex(lists=64, iterations=2)"])
def test_a_build_stays_within_its_budget(index: str, tmp_path: Path) -> None:
    """61 MB of vectors in 25 MB, save included, by the most memory that the kernel saw the process hold."""
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).standard_normal((30_000, 1024)).astype(np.float16))
    took = []
    for budget in ({"memory_budget": 25_000_000, "scratch": str(tmp_path)}, {}):
        paths = [tmp_path / "rows.npy", tmp_path / f"index-{len(took)}"]
        command = [sys.executable, "-c", BUILDER, *map(str, paths), repr(budget), index]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        took.append(int(done.stdout))
    assert took[0] < 1.1 * 25_000_000 < 61_000_000 < took[1], took
    assert segment_of(paths[1]).read_bytes() == segment_of(tmp_path / "index-0").read_bytes()


def test_a_budget_that_is_too_small_says_what_is_needed() -> None:
    index = adanns.IVFIndex(25, 25, metric="l2").build(rows_of(50))
    with pytest.raises(ValueError, match=r"memory_budget=1000 bytes is too small: .* 307 rows takes \d{5,} bytes"):
        index.build(rows_of(ROWS), memory_budget=1000)
    with pytest.raises(ValueError, match="memory_budget=0; expected a number of bytes"):
        index.build(rows_of(ROWS), memory_budget=0)
    with pytest.raises(TypeError, match="memory_budget is '1 GB'; expected a number of bytes"):
        index.build(rows_of(ROWS), memory_budget="1 GB")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scratch='x' is for builds within a memory_budget"):
        index.build(rows_of(ROWS), scratch="x")
    with pytest.raises(FileNotFoundError, match="scratch='nowhere' is not a folder"):
        index.build(rows_of(ROWS), memory_budget=1 << 30, scratch="nowhere")
    assert index.rows == 50


def test_what_fits_in_the_budget_stays_in_memory(tmp_path: Path) -> None:
    index = adanns.ExactIndex().build(rows_of(ROWS), memory_budget=1 << 30, scratch=tmp_path)
    assert mapping_of(index.arrays["plane_0"]) is None
