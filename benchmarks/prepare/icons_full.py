"""How is `icons-full` made? All sets of the icon package, 1,000 classes, whole sets held out, no look-alikes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adanns.datasets.cache import cache_folder, made_once
from adanns.datasets.prepared import CACHE_NAMES
from adanns.ladder import default_ladder
from benchmarks.prepare import facts
from benchmarks.prepare.data_set import STAGE, data_set
from benchmarks.prepare.icon_images import draw_icons
from benchmarks.prepare.icon_package import PACKAGE, fetch_package, package_version
from benchmarks.prepare.icon_report import licence_table
from benchmarks.prepare.icon_split import NEAR_DUPLICATE_COSINE, split_by_set, write_images
from benchmarks.prepare.overall import Overall
from benchmarks.prepare.recipe import NETWORK, Recipe, Training

CLASSES = 1000
SEED = 0
PACKAGE_FOLDER = "npm-packages"
SECONDS = {"fetch": 60.0, "draw": 60.0, "split": 30.0}
ABOUT = {
    "source": "icons of the npm package @iconify/json drawn at 32 x 32, embedded by benchmarks/prepare",
    "licence": "each icon set has its own (LICENCES.md); embeddings only",
    "split": "queries are of icon sets that the database has nothing of",
    "network": NETWORK,
}
RECIPE = Recipe(
    name="icons-full",
    cache_name=CACHE_NAMES["icons-full"],
    ladder=default_ladder(512),
    training=Training(
        width=24,
        epochs=24,
        batch=256,
        learning_rate=4e-3,
        weight_decay=0.05,
        label_smoothing=0.1,
        distort=True,
        prefix_weights=(2, 6, 3, 1, 1, 1, 1),  # few dims learn last: see dims-icons-full/NOTE.md
    ),
    rigid_dims=(512,),
    model_seconds=1100.0,
)


def prepare(name: str, *, rigid_dims: Sequence[int] | None = None, workers: int = 2) -> Path:
    """The folder of icons-full, made as far as it is not there yet; `rigid_dims` None: those of the recipe."""
    overall = Overall({**SECONDS, STAGE: RECIPE.model_seconds}, unpaced=frozenset({"fetch"}))
    image_folder = images(overall, workers=workers)
    dims = RECIPE.rigid_dims if rigid_dims is None else rigid_dims
    return data_set(RECIPE, image_folder, ABOUT, overall, rigid_dims=dims, workers=workers)


def images(overall: Overall, *, workers: int = 2) -> Path:
    """The folder of drawn and split icons, made on first use."""

    def make(folder: Path) -> None:
        with overall.stage("fetch"):
            package = fetch_package(cache_folder() / PACKAGE_FOLDER)
        with overall.stage("draw") as progress:
            drawn = draw_icons(package, classes=CLASSES, workers=workers, licences=None, progress=progress)
        with overall.stage("split") as progress:
            split = split_by_set(drawn, seed=SEED)
            write_images(folder, drawn, split, progress)
        table = licence_table(drawn.icon_sets, drawn.sets[split.database], drawn.sets[split.queries])
        (folder / "LICENCES.md").write_text(table, encoding="utf-8")
        facts.add(
            folder,
            packages={PACKAGE: package_version(package)},
            icon_sets=len(drawn.icon_sets),
            classes=len(drawn.class_names),
            images_drawn=len(drawn.labels),
            near_duplicate_queries_dropped=split.near_duplicates,
            near_duplicate_cosine=NEAR_DUPLICATE_COSINE,
            database_images=len(split.database),
            query_images=len(split.queries),
            query_sets=[drawn.icon_sets[number].prefix for number in np.unique(drawn.sets[split.queries])],
            seconds=overall.seconds,
        )

    return made_once("icons-full-images-1", make)
