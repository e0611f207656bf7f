"""Does the benchmark of storage measure every class, and leave nothing behind?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command_line
from benchmarks import storage


def test_every_class_is_saved_opened_and_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line.machine, "prepare_environment", lambda threads: {})
    monkeypatch.setattr(storage, "QUERIES", 20)
    (tmp_path / "disk").mkdir()
    size = ["--rows", "700", "--dims", "64", "--rounds", "1", "--threads", "1"]
    places = ["--folder", str(tmp_path / "disk"), "--output", str(tmp_path / "out")]
    assert command_line.main(["storage", *size, *places]) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["kind"] for row in found["measurements"]] == list(storage.INDICES)
    for row in found["measurements"]:
        assert row["megabytes"] > 0.05
        assert row["save_to_copy"] == pytest.approx(row["save_seconds"] / row["copy_seconds"])
        assert 0 < row["open_ms"] < 1000
    assert not list((tmp_path / "disk").iterdir())
    assert "mapped us/query" in capsys.readouterr().out
