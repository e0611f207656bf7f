"""Does the command line do on files what the library does, and say in one line what is wrong?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recipes import rows_of
from twins import segment_of

import adanns
from adanns.cli import main

ROWS, QUERIES = rows_of(300), rows_of(4, seed=1)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", ROWS)
    np.save(tmp_path / "queries.npy", QUERIES)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_built_and_searched_on_files_is_built_and_searched_in_python(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "cluster_dims=16", "--set", "scan_dims=33", "--set", "lists=5", "--set", "metric=l2"]
    settings += ["--set", "ladder=[5, 16, 33, 65, 100]"]
    built = run(capsys, "build", files / "rows.npy", files / "index", "--kind", "ivf", *settings)
    assert (built["kind"], built["rows"], built["dims"], built["ladder"]) == ("ivf", 300, 100, [5, 16, 33, 65, 100])
    assert built["parameters"]["lists"] == 5
    expected = adanns.load(files / "index")
    found = run(capsys, "search", files / "index", files / "queries.npy", "--k", 3, "--set", "probes=2", "--mmap")
    result = expected.search(QUERIES, 3, probes=2)  # type: ignore[call-arg]
    assert found["ids"] == result.ids.tolist()
    np.testing.assert_allclose(found["distances"], result.distances)
    written = run(capsys, "search", files / "index", files / "queries.npy", "--output", files / "found.npz")
    assert written["queries"] == 4
    with np.load(files / "found.npz") as saved:
        assert (saved["ids"] == expected.search(QUERIES, 10).ids).all()


def test_what_is_larger_than_memory_is_built_and_searched_in_part(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "scratch").mkdir()
    budget = ["--memory-budget", "0.1M", "--scratch", files / "scratch"]
    run(capsys, "build", files / "rows.npy", files / "index", "--kind", "exact", *budget)
    in_memory = run(capsys, "build", files / "rows.npy", files / "other", "--kind", "exact")
    assert segment_of(files / "index").read_bytes() == segment_of(files / "other").read_bytes()
    assert in_memory["rows"] == 300
    part = run(capsys, "search", files / "index", files / "queries.npy", "--mmap", "--memory-dims", 25)
    assert part == run(capsys, "search", files / "index", files / "queries.npy")
    command = ["build", str(files / "rows.npy"), str(files / "index"), "--kind", "exact", "--memory-budget", "1K"]
    assert main(command) == 1
    assert "memory_budget=1000 bytes is too small" in capsys.readouterr().err


def test_parquet_brings_its_ids(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    ids = np.arange(300) + 7000
    table = pyarrow.table({"id": ids, "embedding": pyarrow.FixedSizeListArray.from_arrays(ROWS.ravel(), 100)})
    parquet.write_table(table, files / "rows.parquet")
    run(capsys, "build", files / "rows.parquet", files / "index", "--kind", "exact")
    found = run(capsys, "search", files / "index", files / "queries.npy", "--k", 2)
    assert min(map(min, found["ids"])) >= 7000


def test_info_and_verify_say_what_there_is(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adanns.CompactIndex(6, cluster_dims=16, lists=5, ladder=(16, 100), precision=None).build(ROWS).save(files / "index")
    info = run(capsys, "info", files / "index")
    assert info["kind"] == "compact"
    assert info["arrays"]["ids"] == "int64 300"
    assert info["bytes_on_disk"] > segment_of(files / "index").stat().st_size
    assert run(capsys, "verify", files / "index")["verified"] is True
    assert main(["info", str(files / "index")]) == 0
    assert "rows: 300\n" in capsys.readouterr().out


def test_compact_makes_one_segment_of_what_is_left(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index: Any = adanns.ExactIndex().build(ROWS)
    index.add(ROWS[:90])
    index.remove(range(100))
    index.save(files / "index")
    before = run(capsys, "info", files / "index")
    assert (before["rows"], before["removed_rows"], before["segments"]) == (290, 100, [300, 90])
    assert before["advice"].startswith("compact: 26% of the stored rows are removed")
    done = run(capsys, "compact", files / "index")
    assert (done["rows"], done["removed_rows_dropped"], done["segments_merged"]) == (290, 100, 2)
    after = run(capsys, "info", files / "index")
    assert (after["rows"], after["removed_rows"], after["segments"]) == (290, 0, [290])
    assert main(["compact", str(files / "nothing")]) == 1


def test_a_damaged_index_is_found_by_verify(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adanns.ExactIndex().build(ROWS).save(files / "index")
    segment = segment_of(files / "index")
    content = bytearray(segment.read_bytes())
    content[-70_000] ^= 1
    segment.write_bytes(content)
    assert main(["verify", str(files / "index")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("adanns verify: ")
    assert "checksum" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nothing"], "nothing holds no saved index"),
        (["build", "missing.npy", "index"], "missing.npy"),
        (["build", "rows.npy", "index", "--kind", "ivf", "--set", "lists=0"], "lists=0; expected 1 or more"),
        (["build", "rows.npy", "index", "--set", "colour=red"], "colour"),
        (["search", "rows.npy", "queries.npy"], "holds no saved index"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_1(
    arguments: list[str], message: str, files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert not (files / "index").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["destroy"],
        ["build"],
        ["build", "a", "b", "--kind", "tree"],
        ["info"],
        ["build", "a", "b", "--memory-budget", "much"],
    ],
)
def test_misuse_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: adanns" in capsys.readouterr().err


def test_it_runs_as_a_module(files: Path) -> None:
    adanns.ExactIndex().build(ROWS).save(files / "index")
    command = [sys.executable, "-m", "adanns", "info", str(files / "index"), "--json"]
    assert json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)["rows"] == 300
