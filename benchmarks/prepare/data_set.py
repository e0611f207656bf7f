"""How do a recipe and its images become a folder that `adanns.datasets` loads?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from adanns.datasets.cache import made_once
from adanns.progress import ProgressCallback
from benchmarks.prepare import facts
from benchmarks.prepare.disk import require_space
from benchmarks.prepare.image_folder import read_side, whole
from benchmarks.prepare.overall import Overall
from benchmarks.prepare.recipe import ModelTask, Recipe
from benchmarks.prepare.workers import apart, in_threads, parts_of

STAGE = "train"


def data_set(
    recipe: Recipe,
    images: Path,
    about: Mapping[str, str],
    overall: Overall,
    *,
    rigid_dims: Sequence[int],
    workers: int = 2,
) -> Path:
    """The cached folder with the Matryoshka model and rigid models at `rigid_dims`; what it lacks is made.

    Models are made side by side, each by a process with its share of the cores: on two cores that is faster than one
    after the other with two threads. A rigid model that is asked for later is added to the folder. about.json says what
    is in `about`, and what is known of images and models.
    """
    classes = len(json.loads((images / "class_names.json").read_text(encoding="utf-8")))

    def task(folder: Path, ladder: tuple[int, ...], models: int) -> ModelTask:
        return ModelTask(images, folder, ladder, classes, recipe.training, threads=max(1, workers // models))

    def make_all(folder: Path) -> None:
        ladders = {folder: recipe.ladder, **{folder / f"rigid-{dims}": (dims,) for dims in rigid_dims}}
        tasks = [task(place, ladder, len(ladders)) for place, ladder in ladders.items()]
        require_space(folder, sum(map(_bytes_to_come, tasks)), f"{recipe.name} with {len(tasks)} models")
        with overall.stage(STAGE) as progress:
            parts = parts_of(progress, STAGE, len(tasks))
            calls = [partial(_make_one, one, part, workers) for one, part in zip(tasks, parts, strict=True)]
            in_threads(calls, workers)
        for side in ("database", "query"):
            with whole(folder / f"{side}_labels.npy") as file:
                np.save(file, read_side(images, side)[1])
        (folder / "class_names.json").write_bytes((images / "class_names.json").read_bytes())
        (folder / "ladder.json").write_text(json.dumps(recipe.ladder), encoding="utf-8")
        known = {**facts.read(images), **facts.read(folder)}
        known["seconds"] = {**facts.read(images)["seconds"], **facts.read(folder)["seconds"]}
        texts = {"metric": "cosine", **about, **{name: facts.as_text(value) for name, value in known.items()}}
        (folder / "about.json").write_text(json.dumps(texts, indent=1, ensure_ascii=False), encoding="utf-8")

    def add(dims: int, progress: ProgressCallback) -> None:
        def make_twin(twin: Path) -> None:
            twin_task = task(twin, (dims,), len(missing))
            require_space(twin, _bytes_to_come(twin_task), f"a rigid model at {dims} dims")
            _make_one(twin_task, progress, workers)

        made_once(f"{recipe.cache_name}/rigid-{dims}", make_twin)

    folder = made_once(recipe.cache_name, make_all)
    missing = [dims for dims in rigid_dims if not (folder / f"rigid-{dims}").is_dir()]
    if missing:
        with overall.stage(STAGE) as progress:
            parts = parts_of(progress, STAGE, len(missing))
            in_threads([partial(add, dims, part) for dims, part in zip(missing, parts, strict=True)], workers)
    return folder


def _bytes_to_come(task: ModelTask) -> int:
    """Of the embeddings, float16, of the sides that are not there."""
    sides = {"query": "queries.npy", "database": "database.npy"}
    rows = [len(read_side(task.images, side)[1]) for side, name in sides.items() if not (task.folder / name).exists()]
    return 2 * task.ladder[-1] * sum(rows)


def _make_one(task: ModelTask, progress: ProgressCallback, workers: int) -> None:
    """Make a model, in a process of its own if there may be several."""
    from benchmarks.prepare.models import make_model

    if workers == 1:
        make_model(task, progress)
    else:
        apart(make_model, task, progress)
