"""A folder of numpy arrays as a data set: `load("npy:DIR")`.

    database.npy          float16 or float32 (rows, dims), or a file of another kind that `read_vectors` reads:
    queries.npy               database.fbin, queries.parquet ...; ids in it play no part, results count rows from 0
    database_labels.npy   integers (rows,)       optional, both or neither
    query_labels.npy      integers (queries,)
    ladder.json           the trained dims, increasing, the last one all dims; without it `adanns.default_ladder(dims)`
    class_names.json      what label i is called: a list of strings; optional
    about.json            strings, each optional: metric (cosine if not given), source, licence, synthetic ("true")
    rigid-<dims>/         database and queries: the same rows by a model trained for these dims alone; optional
    classifier.npz        the classifier heads: ladder, weight_<dims> (classes, dims), bias_<dims>; optional

Arrays are memory-mapped; their values are not read here, so NaN is found when an index is built.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adanns.datasets.dataset import Dataset, Labels
from adanns.datasets.npy_file import map_numbers, require_file
from adanns.datasets.vector_files import SUFFIXES, read_vectors
from adanns.ladder import METRICS, default_ladder

RIGID_PREFIX = "rigid-"


def load(folder: str | Path, *, name: str | None = None) -> Dataset:
    """Map and check the arrays of `folder`. FileNotFoundError or ValueError names the file at fault."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; npy:DIR names one with database.npy and queries.npy")
    database_file, queries_file = _vector_file(folder, "database"), _vector_file(folder, "queries")
    (database, _), (queries, _) = read_vectors(database_file), read_vectors(queries_file)
    dims = database.shape[1]
    if queries.shape[1] != dims:
        raise ValueError(f"{queries_file}: {queries.shape[1]} dims, but {database_file.name} has {dims}")
    database_labels = _labels(folder / "database_labels.npy", len(database))
    query_labels = _labels(folder / "query_labels.npy", len(queries))
    if (database_labels is None) != (query_labels is None):
        missing = folder / ("database_labels.npy" if database_labels is None else "query_labels.npy")
        raise FileNotFoundError(f"{missing}: missing, though the other side has labels; give both or neither")
    about = _about(folder / "about.json")
    dataset = Dataset(
        name=name or f"npy:{folder}",
        database=database,
        queries=queries,
        database_labels=database_labels,
        query_labels=query_labels,
        ladder=_ladder(folder / "ladder.json", dims),
        metric=about.get("metric", "cosine"),
        source=about.get("source", str(folder)),
        licence=about.get("licence", "unknown"),
        class_names=_class_names(folder / "class_names.json", database_labels, query_labels),
        synthetic=about.get("synthetic") == "true",
    )
    twins = {_rigid_dims(twin): twin for twin in folder.glob(f"{RIGID_PREFIX}*") if twin.is_dir()}
    return replace(
        dataset,
        rigid={
            rung: rigid_twin(dataset, rung, _vector_file(twin, "database"), _vector_file(twin, "queries"))
            for rung, twin in sorted(twins.items())
        },
        classifier=_classifier(folder / "classifier.npz", dataset.ladder),
    )


def rigid_twin(dataset: Dataset, dims: int, database_file: Path, queries_file: Path) -> Dataset:
    """The same rows and queries, embedded by a model trained for `dims` alone. ValueError names a file at fault."""
    (database, _), (queries, _) = read_vectors(database_file), read_vectors(queries_file)
    for file, array, rows in (database_file, database, dataset.database), (queries_file, queries, dataset.queries):
        if array.shape != (len(rows), dims):
            raise ValueError(f"{file}: shape {array.shape}; expected {(len(rows), dims)}, the rows of {dataset.name}")
    name = f"{dataset.name}-rigid-{dims}"
    return replace(dataset, name=name, database=database, queries=queries, ladder=(dims,))


def _vector_file(folder: Path, part: str) -> Path:
    files = [file for suffix in SUFFIXES if (file := folder / f"{part}{suffix}").exists()]
    if not files:
        raise FileNotFoundError(f"{folder / part}.npy: no such file, nor with {', '.join(SUFFIXES[1:])} at its end")
    if len(files) > 1:
        raise ValueError(f"{files[1]}: there is {files[0].name}, too; keep one of them")
    return files[0]


def _rigid_dims(folder: Path) -> int:
    match = re.fullmatch(rf"{RIGID_PREFIX}([1-9][0-9]{{0,8}})", folder.name)
    if not match:
        raise ValueError(f"{folder}: expected a number of dims behind {RIGID_PREFIX!r}, such as {RIGID_PREFIX}64")
    return int(match[1])


def _classifier(file: Path, ladder: tuple[int, ...]) -> Path | None:
    """The file, if there is one and it has a head for every rung. Its weights are not read."""
    if not file.exists():
        return None
    require_file(file)
    with file.open("rb") as stream:
        try:
            with np.load(stream, allow_pickle=False) as arrays:
                heads, rungs = set(arrays.files), tuple(arrays["ladder"].tolist())
        except Exception as error:  # zipfile, zlib and numpy raise as many errors as there are ways to damage a file
            raise ValueError(f"{file}: not a .npz file of classifier heads ({error})") from error
    if rungs != ladder:
        raise ValueError(f"{file}: heads for the ladder {rungs}; expected {ladder}")
    if missing := {f"weight_{dims}" for dims in ladder} - heads:
        raise ValueError(f"{file}: without {', '.join(sorted(missing))}; expected a head for each rung of {ladder}")
    return file


def _labels(file: Path, rows: int) -> Labels | None:
    if not file.exists():
        return None
    array = map_numbers(file)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{file}: dtype {array.dtype}; expected integers")
    if array.shape != (rows,):
        raise ValueError(f"{file}: shape {array.shape}; expected ({rows},), one label a row")
    return array


def _class_names(file: Path, *labels: Labels | None) -> tuple[str, ...] | None:
    if not file.exists():
        return None
    names = _json(file)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{file}: expected a list of strings, one a label")
    for some in labels:
        if some is not None and not (some.min() >= 0 and some.max() < len(names)):
            raise ValueError(f"{file}: {len(names)} names, but there are labels from {some.min()} to {some.max()}")
    return tuple(names)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not JSON ({error})") from error


def _ladder(file: Path, dims: int) -> tuple[int, ...]:
    if not file.exists():
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
    about = _json(file) if file.exists() else {}
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise ValueError(f"{file}: expected an object of strings: metric, source, licence, synthetic")
    for key, choices in {"metric": METRICS, "synthetic": ("true", "false")}.items():
        if about.get(key, choices[0]) not in choices:
            raise ValueError(f"{file}: {key} {about[key]!r}; choose {', '.join(choices)}")
    return about
