"""Where does the npm package of icons come from?"""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

from adanns.datasets import commands
from adanns.datasets.dataset import DatasetUnavailableError

PACKAGE = "@iconify/json"


def fetch_package(folder: Path) -> Path:
    """The unpacked package below `folder`, downloaded if there is neither that nor its .tgz file.

    DatasetUnavailableError says what to do where it cannot be downloaded.
    """
    package = folder / "package"
    if not (package / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        archives = list(folder.glob("iconify-json-*.tgz")) or [_download(folder)]
        with tarfile.open(max(archives)) as archive:
            archive.extractall(folder, filter="data")
    return package


def package_version(package: Path) -> str:
    """The version that an unpacked npm package states."""
    return str(json.loads((package / "package.json").read_text(encoding="utf-8"))["version"])


def _download(folder: Path) -> Path:
    try:
        commands.run("npm", "pack", PACKAGE, folder=folder)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DatasetUnavailableError(
            f"the icons are drawn from the npm package {PACKAGE}, which could not be downloaded "
            f"({commands.last_words(error)}): install npm and see that the network can be reached, or put its .tgz "
            f"file into {folder}; then run the same command again"
        ) from error
    return max(folder.glob("iconify-json-*.tgz"))
