"""Does docs/training.md tell the truth: its example runs, and finds what it should?"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

torch.set_num_threads(1)  # at these sizes more threads only wait for each other

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "training.md").read_text()


def test_the_example_trains_embeds_and_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "training.md", "exec"), {"__name__": "example"})
    measured = re.search(r"top-1: ([.\d]+)", capsys.readouterr().out)
    assert measured is not None
    assert float(measured[1]) > 0.9
    assert np.load("database.npy").shape == (5000, 64)
    assert np.load("classifier.npz")["weight_8"].shape == (50, 8)
    assert Path("training.pt").is_file()


def test_every_name_of_the_page_is_there() -> None:
    from adanns import mrl

    names = set(re.findall(r"\b(Matryoshka\w+|ArrayBatches|retrofit)\(", PAGE))
    assert len(names) == 8
    assert names <= set(mrl.__all__)
