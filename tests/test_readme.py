"""Does the README tell the truth: its example runs, and the files it names are there?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs_and_finds_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    measured = re.search(r"recall@10: ([.\d]+)\ntop-1: ([.\d]+)", printed)
    assert measured is not None, printed
    assert float(measured[1]) > 0.95
    assert float(measured[2]) > 0.65
    assert (tmp_path / "icons-index" / "manifest.json").is_file()


def test_every_linked_or_shown_file_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert not missing
