"""How are other programs run, and what did one say when it failed?"""

from __future__ import annotations

import subprocess
from pathlib import Path


def run(*command: str, folder: Path) -> None:
    """Run a program in a folder; OSError or CalledProcessError if it is not there or fails."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def last_words(error: Exception) -> str:
    """The last line that a failed program wrote to stderr, else of the error itself."""
    return "".join((getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:])
