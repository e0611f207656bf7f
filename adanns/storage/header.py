"""The JSON file that says what a folder holds, in every version of the format."""

from __future__ import annotations

import json
import operator
from pathlib import Path
from typing import Any

from adanns.errors import CorruptIndexError

FORMAT = "adanns"
LONGEST_HEADER = 1 << 24  # bytes of JSON: ours are of a few thousand, and what is read is read whole


def read_header(path: Path, what: str) -> tuple[Any, int]:
    """Content and format version of `what` of a saved index; CorruptIndexError where it is something else."""
    if path.stat().st_size > LONGEST_HEADER:
        raise CorruptIndexError(f"{path} is {path.stat().st_size} bytes long, more than {what} ever is")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
        return content, operator.index(content["version"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptIndexError(f"{path} is not {what} of a saved index: {error!r}") from error
