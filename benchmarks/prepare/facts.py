"""What is worth knowing about a prepared folder: counts, versions and seconds, in its facts.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "facts.json"
Facts = dict[str, Any]


def read(folder: Path) -> Facts:
    """The facts of `folder` so far."""
    file = folder / NAME
    facts: Facts = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return facts


def add(folder: Path, **facts: Any) -> None:
    """Note more facts; a dict is merged into the one of its name."""
    known = read(folder)
    for name, value in facts.items():
        known[name] = {**known.get(name, {}), **value} if isinstance(value, dict) else value
    unfinished = folder / f"{NAME}.partial"
    unfinished.write_text(json.dumps(known, indent=1), encoding="utf-8")
    unfinished.replace(folder / NAME)


def as_text(value: Any) -> str:
    """A fact for people: lists with commas, dicts with semicolons, numbers rounded."""
    if isinstance(value, dict):
        return "; ".join(f"{name} {as_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 1.0 else f"{value:.3g}"
    return str(value)
