"""How are the glyph data sets made? Fonts -> faces -> classes -> images -> split, each kept once it is there.

The stages from the fetched packages to the faces are shared by all glyph data sets (cache folder `glyph-fonts-1`);
the images of one data set stay in `NAME-images-1`, so that models can be added to it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adanns.datasets.cache import cache_folder, made_once
from adanns.progress import ProgressCallback
from benchmarks.prepare import facts
from benchmarks.prepare.font_faces import Face, load_faces, read_faces, save_faces
from benchmarks.prepare.font_packages import PACKAGES, fetch, unpack
from benchmarks.prepare.glyph_classes import FEWEST_FACES, choose_classes
from benchmarks.prepare.glyph_images import draw_glyphs
from benchmarks.prepare.glyph_split import NEAR_DUPLICATE_COSINE, split_by_family
from benchmarks.prepare.image_folder import whole, write_class_names, write_side
from benchmarks.prepare.overall import Overall

FONTS = "glyph-fonts-1"  # the number changes with the recipe, so that no old copy is taken for a new one
PACKAGE_FOLDER = "debian-packages"

SECONDS = {"fetch": 300.0, "unpack": 80.0, "faces": 30.0, "classes": 10.0, "draw": 90.0, "split": 60.0}
UNPACED = frozenset({"fetch"})


@dataclass(frozen=True)
class Glyphs:
    """Which glyphs: how many classes, how many of them East Asian, and what is held out.

    fewest_faces: of a class that is not East Asian. held_out: images of the families that queries come from, before
    duplicates are dropped. largest_family: of these, in images. copies: distorted copies of each database image.
    """

    classes: int
    east_asian: int
    held_out: int
    largest_family: int = 3000
    fewest_faces: int = FEWEST_FACES
    copies: int = 0
    seed: int = 0


def fonts(overall: Overall, *, packages: Sequence[str] = PACKAGES, workers: int = 2) -> Path:
    """The folder with all fonts and the table of their faces, made on first use."""

    def make(folder: Path) -> None:
        if "packages" not in facts.read(folder):
            with overall.stage("fetch") as progress:
                found = fetch(packages, cache_folder() / PACKAGE_FOLDER, progress)
            with overall.stage("unpack") as progress:
                unpack(found, folder / "fonts", progress, workers=workers)
            facts.add(folder, packages=found.versions(), missing_packages=found.missing)
        with overall.stage("faces") as progress:
            faces = read_faces(folder / "fonts", progress, workers=workers)
        save_faces(folder / "faces.npz", faces.kept)
        families = len({face.family for face in faces.kept})
        facts.add(folder, faces=len(faces.kept), families=families, left_out=faces.left_out, seconds=overall.seconds)

    return made_once(FONTS, make)


def images(name: str, glyphs: Glyphs, font_folder: Path, overall: Overall, *, workers: int = 2) -> Path:
    """The folder of the data set's images, split (see benchmarks.prepare.image_folder), made on first use."""

    def make(folder: Path) -> None:
        faces = load_faces(font_folder / "faces.npz")
        class_file, drawn_file, drawn_rows = folder / "classes.npy", folder / "drawn.npy", folder / "drawn.npz"
        if not class_file.exists():
            with overall.stage("classes") as progress, whole(class_file) as file:
                chosen = choose_classes(
                    font_folder / "fonts",
                    faces,
                    progress,
                    classes=glyphs.classes,
                    east_asian=glyphs.east_asian,
                    fewest_faces=glyphs.fewest_faces,
                    workers=workers,
                )
                np.save(file, chosen)
        classes = np.load(class_file)
        if not drawn_rows.exists():
            with overall.stage("draw") as progress, whole(drawn_rows) as file:
                labels, numbers = draw_glyphs(
                    font_folder / "fonts", faces, classes, drawn_file, progress, workers=workers
                )
                np.savez(file, labels=labels, faces=numbers)
        with overall.stage("split") as progress:
            split_images(folder, faces, glyphs, progress)
        write_class_names(folder, [f"U+{codepoint:04X} {chr(codepoint)}" for codepoint in classes.tolist()])
        facts.add(folder, **facts.read(font_folder))
        facts.add(folder, classes=len(classes), seconds=overall.seconds)
        for file in (class_file, drawn_file, drawn_rows):
            file.unlink()

    return made_once(f"{name}-images-1", make)


def split_images(folder: Path, faces: Sequence[Face], glyphs: Glyphs, progress: ProgressCallback) -> None:
    """Split what was drawn, write both sides, note what was dropped."""
    with np.load(folder / "drawn.npz") as arrays:
        labels, numbers = arrays["labels"], arrays["faces"]
    pixels = np.load(folder / "drawn.npy", mmap_mode="r")[: len(labels)]
    families = np.array([face.family for face in faces])[numbers]
    split = split_by_family(
        pixels,
        labels,
        families,
        progress,
        candidates=glyphs.held_out,
        largest_family=glyphs.largest_family,
        seed=glyphs.seed,
    )
    write_side(folder, "query", pixels, labels, split.queries, progress)
    write_side(folder, "database", pixels, labels, split.database, progress, copies=glyphs.copies, seed=glyphs.seed)
    facts.add(
        folder,
        images_drawn=len(labels),
        faces_drawn=len(np.unique(numbers)),
        exact_duplicates_dropped=split.exact_duplicates,
        near_duplicate_queries_dropped=split.near_duplicates,
        near_duplicate_cosine=NEAR_DUPLICATE_COSINE,
        database_images=len(split.database),
        distorted_copies_of_each=glyphs.copies,
        query_images=len(split.queries),
        database_families=len(np.unique(families)) - len(split.query_families),
        query_families=split.query_families,
    )
