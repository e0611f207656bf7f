"""Does docs/change.md tell the truth: its example runs?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "change.md"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "change.md", "exec"), names)
    assert "advice: fine" in capsys.readouterr().out
    assert (names["near"].ids % 3 == 0).all()
    assert names["index"].health().segments == 1
