"""Progress of long work: a bar on a terminal, or a callback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

ProgressCallback = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


class Progress:
    """`progress=None` shows a bar where stderr is a terminal, True always, False never; a callable is called.

    A `with` block ends the bar, however the block ends.
    """

    def __init__(self, progress: bool | ProgressCallback | None) -> None:
        if progress is not None and not isinstance(progress, bool) and not callable(progress):
            raise TypeError(f"progress is {progress!r}; expected None, a bool or a callable (what, done, total)")
        self._callback = progress if callable(progress) else None
        self._shown = sys.stderr.isatty() if progress is None else progress is True
        self._bar: tqdm[Any] | None = None

    def step(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` steps are over; the first call of a kind starts its bar, the last one ends it."""
        if self._callback is not None:
            self._callback(what, done, total)
        elif self._shown:
            if self._bar is None or self._bar.desc.rstrip(": ") != what:
                self.close()
                self._bar = tqdm(total=total, desc=what, file=sys.stderr)
            self._bar.update(done - self._bar.n)
            if done >= total:
                self.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the bar, whether or not its work ended."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
