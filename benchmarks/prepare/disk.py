"""Is there room for what is to be made?"""

from __future__ import annotations

import shutil
from pathlib import Path

from adanns.datasets.dataset import DatasetUnavailableError

SPARE_BYTES = 1 << 30  # for checkpoints, logs and whoever else writes there


def require_space(folder: Path, needed: int, what: str) -> None:
    """DatasetUnavailableError if `folder` has not `needed` bytes: writing to a map of a full disk kills the process."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise DatasetUnavailableError(
            f"{what} takes {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free; make room, or set "
            "ADANNS_CACHE to a folder on another disk"
        )
