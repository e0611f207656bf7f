"""A folder of numpy arrays as a data set: `load("npy:DIR")`.

    database.npy          float16 or float32 (rows, dims)
    queries.npy           float16 or float32 (queries, dims)
    database_labels.npy   integers (rows,)       optional, both or neither
    query_labels.npy      integers (queries,)
    ladder.json           the trained dims, increasing, the last one all dims; without it `adanns.default_ladder(dims)`
    about.json            {"metric", "source", "licence"}, each optional; the metric is cosine if not given

Arrays are memory-mapped; their values are not read here, so NaN is found when an index is built.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from adanns.datasets.dataset import Dataset, Labels, Vectors
from adanns.ladder import default_ladder

METRICS = ("l2", "ip", "cosine")


def load(folder: str | Path, *, name: str | None = None) -> Dataset:
    """Map and check the arrays of `folder`. FileNotFoundError or ValueError names the file at fault."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; npy:DIR names one with database.npy and queries.npy")
    database, queries = _vectors(folder / "database.npy"), _vectors(folder / "queries.npy")
    dims = database.shape[1]
    if queries.shape[1] != dims:
        raise ValueError(f"{folder / 'queries.npy'}: {queries.shape[1]} dims, but database.npy has {dims}")
    database_labels = _labels(folder / "database_labels.npy", len(database))
    query_labels = _labels(folder / "query_labels.npy", len(queries))
    if (database_labels is None) != (query_labels is None):
        missing = folder / ("database_labels.npy" if database_labels is None else "query_labels.npy")
        raise FileNotFoundError(f"{missing}: missing, though the other side has labels; give both or neither")
    about = _about(folder / "about.json")
    return Dataset(
        name=name or f"npy:{folder}",
        database=database,
        queries=queries,
        database_labels=database_labels,
        query_labels=query_labels,
        ladder=_ladder(folder / "ladder.json", dims),
        metric=about.get("metric", "cosine"),
        source=about.get("source", str(folder)),
        licence=about.get("licence", "unknown"),
    )


def _mapped(file: Path) -> npt.NDArray[Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        array: npt.NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
    except ValueError as error:
        raise ValueError(f"{file}: not a .npy file that can be memory-mapped ({error})") from error
    return array


def _vectors(file: Path) -> Vectors:
    array = _mapped(file)
    if array.dtype not in (np.float16, np.float32):
        raise ValueError(f"{file}: dtype {array.dtype}; expected float16 or float32")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{file}: shape {array.shape}; expected (rows, dims), neither of them 0")
    return array


def _labels(file: Path, rows: int) -> Labels | None:
    if not file.is_file():
        return None
    array = _mapped(file)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{file}: dtype {array.dtype}; expected integers")
    if array.shape != (rows,):
        raise ValueError(f"{file}: shape {array.shape}; expected ({rows},), one label a row")
    return array


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error})") from error


def _ladder(file: Path, dims: int) -> tuple[int, ...]:
    if not file.is_file():
        return default_ladder(dims)
    rungs = _json(file)
    if not isinstance(rungs, list) or not all(type(rung) is int and rung >= 1 for rung in rungs):
        raise ValueError(f"{file}: {rungs!r}; expected a list of positive integers")
    if rungs != sorted(set(rungs)):
        raise ValueError(f"{file}: {rungs}; rungs must increase")
    if rungs[-1:] != [dims]:
        raise ValueError(f"{file}: {rungs}; the last rung must be all {dims} dims of database.npy")
    return tuple(rungs)


def _about(file: Path) -> dict[str, str]:
    about = _json(file) if file.is_file() else {}
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise ValueError(f"{file}: expected an object of strings: metric, source, licence")
    if about.get("metric", "cosine") not in METRICS:
        raise ValueError(f"{file}: metric {about['metric']!r}; choose {', '.join(METRICS)}")
    return about
