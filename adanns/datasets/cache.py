"""Where do made things live, and how does a half-made one never show?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """$ADANNS_CACHE, else ~/.cache/adanns. Not created here."""
    chosen = os.environ.get("ADANNS_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "adanns"


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """The cached folder `name`; made by `make(temporary folder)` and then renamed if it is not there yet.

    Another process may make the same folder meanwhile: the first rename wins and the other copy is dropped.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        make(unfinished)
        unfinished.chmod(0o755)  # mkdtemp's 0700 would hide a shared cache from other users
        try:
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder
