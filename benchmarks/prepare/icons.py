"""Make the icon sample of `adanns.datasets.load("icons")`: fetch, draw, split, train, embed, pack, measure.

    python -m benchmarks.prepare.icons        # needs npm, torch, resvg-py and pillow; about 15 minutes on 2 cores

Writes icons.npz, ICONS.md (counts and accuracy) and LICENCES.md (whose icons they are) into adanns/datasets/data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from adanns.datasets.icons import SAMPLE
from adanns.datasets.packing import pack, unpack
from benchmarks.prepare.icon_images import draw_icons
from benchmarks.prepare.icon_report import accuracy_table, description, licence_table, unit
from benchmarks.prepare.icon_split import NEAR_DUPLICATE_COSINE, split_by_set
from benchmarks.prepare.matryoshka_net import embed_with_trained_network

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
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    images = draw_icons(package, classes=CLASSES, workers=arguments.threads)
    split = split_by_set(images, seed=arguments.seed)
    embeddings = embed_with_trained_network(
        images.pixels,
        images.labels,
        split.database,
        ladder=LADDER,
        epochs=arguments.epochs,
        width=arguments.width,
        seed=arguments.seed,
        threads=arguments.threads,
    )
    rows = np.concatenate([split.database, split.queries])
    vectors = unit(embeddings[rows])
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


def fetch_package(work: Path) -> Path:
    """Download and unpack the npm package under `work`, once."""
    package = work / "package"
    if not (package / "package.json").is_file():
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "@iconify/json"], cwd=work, check=True)
        with tarfile.open(max(work.glob("iconify-json-*.tgz"))) as archive:
            archive.extractall(work, filter="data")
    return package


if __name__ == "__main__":
    main()
