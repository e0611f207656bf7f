"""Make the icon sample of `adanns.datasets.load("icons")`: fetch, draw, split, train, embed, pack, measure.

    python -m benchmarks.prepare.icons        # needs npm, torch, resvg-py and pillow; about 15 minutes on 2 cores

Writes icons.npz, ICONS.md (counts and accuracy) and LICENCES.md (whose icons they are) into adanns/datasets/data.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from adanns.datasets.icons import SAMPLE
from adanns.datasets.packing import pack, unpack
from adanns.progress import Progress
from benchmarks.prepare.icon_images import draw_icons
from benchmarks.prepare.icon_package import fetch_package, package_version
from benchmarks.prepare.icon_report import accuracy_table, description, licence_table, unit
from benchmarks.prepare.icon_split import NEAR_DUPLICATE_COSINE, split_by_set, write_images
from benchmarks.prepare.models import make_model
from benchmarks.prepare.recipe import ModelTask, Training

CLASSES = 1000
LADDER = (8, 16, 32, 64, 128, 256, 512)
PACKED_BANDS = (8, 16, *range(32, LADDER[-1] + 1, 32))
# Each band's rounding, in units of the root mean square of a unit vector's numbers; as fine as 8 MB allow.
PACKED_STEPS = (0.17, 0.17, 0.24, *[0.28] * (len(PACKED_BANDS) - 3))


def main() -> None:
    """Run all steps and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/icons"), help="folder for the npm package (100 MB)")
    parser.add_argument("--output", type=Path, default=SAMPLE.parent)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--width", type=int, default=24, help="channels of the network's first layer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    package = fetch_package(arguments.work)
    version = package_version(package)
    images = draw_icons(package, classes=CLASSES, workers=arguments.threads)
    split = split_by_set(images, seed=arguments.seed)
    rows = np.concatenate([split.database, split.queries])
    training = Training(
        width=arguments.width,
        epochs=arguments.epochs,
        batch=256,
        learning_rate=4e-3,
        weight_decay=0.05,
        label_smoothing=0.1,
        distort=True,
        tied=True,
        seed=arguments.seed,
    )
    with tempfile.TemporaryDirectory(dir=arguments.work) as work:
        folder = Path(work)
        write_images(folder, images, split)
        task = ModelTask(folder, folder / "model", LADDER, CLASSES, training, threads=arguments.threads)
        with Progress(None) as shown:
            make_model(task, shown.step)
        embeddings = [np.load(task.folder / f"{side}.npy").astype(np.float32) for side in ("database", "queries")]
    vectors = unit(np.concatenate(embeddings))
    packed = pack(vectors, PACKED_BANDS, [step * LADDER[-1] ** -0.5 for step in PACKED_STEPS])
    arrays: dict[str, Any] = {
        **packed,
        "ladder": np.array(LADDER),
        "database_rows": np.array(len(split.database)),
        "labels": images.labels[rows],
        "sets": images.sets[rows].astype(np.uint8),
        "class_names": np.array(images.class_names),
        "set_prefixes": np.array([icon_set.prefix for icon_set in images.icon_sets]),
        "source": np.array(f"npm @iconify/json {version}, embedded by benchmarks/prepare/icons.py"),
    }
    sample = arguments.output / SAMPLE.name
    np.savez_compressed(sample, **arrays)

    facts: dict[str, str | int] = {
        "database rows": len(split.database),
        "queries": f"{len(split.queries)}, from whole icon sets that the database has nothing of",
        "queries dropped as near-duplicates": f"{split.near_duplicates} (cosine of the ink to a database icon over "
        f"{NEAR_DUPLICATE_COSINE})",
        "classes": f"{CLASSES}, named by the icon's name without style affixes",
        "made from": f"npm @iconify/json {version}, permissive licences (LICENCES.md), no exact duplicates, no blanks",
        "made by": "`python -m benchmarks.prepare.icons` with "
        f"epochs {arguments.epochs}, width {arguments.width}, seed {arguments.seed}; trained on the database rows only",
        "bytes": sample.stat().st_size,
    }
    accuracy = accuracy_table(vectors, unpack(packed), images.labels[rows], len(split.database), LADDER)
    page = description(facts, accuracy)
    print(page)
    (arguments.output / "ICONS.md").write_text(page, encoding="utf-8")
    licences = licence_table(images.icon_sets, images.sets[split.database], images.sets[split.queries])
    (arguments.output / "LICENCES.md").write_text(licences, encoding="utf-8")


if __name__ == "__main__":
    main()
