"""How the glyph data sets come about: faces and families from name tables, classes, images, split, and all of it."""

from __future__ import annotations

import dataclasses
import json
import string
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")
pytest.importorskip("fontTools")

from fontTools.fontBuilder import FontBuilder  # noqa: E402
from fontTools.pens.ttGlyphPen import TTGlyphPen  # noqa: E402

from adanns import datasets  # noqa: E402
from adanns.datasets.dataset import DatasetUnavailableError  # noqa: E402
from benchmarks.prepare import disk, glyph_sets, glyphs, models  # noqa: E402
from benchmarks.prepare.font_faces import Face, load_faces, normalised_family, read_faces, save_faces  # noqa: E402
from benchmarks.prepare.font_packages import Packages, fetch, unpack  # noqa: E402
from benchmarks.prepare.glyph_classes import choose_classes  # noqa: E402
from benchmarks.prepare.glyph_images import FaceGlyphs, draw_face  # noqa: E402
from benchmarks.prepare.glyph_split import Split, split_by_family  # noqa: E402
from benchmarks.prepare.image_folder import read_side  # noqa: E402
from benchmarks.prepare.recipe import Recipe, Training  # noqa: E402

CYRILLIC_A = "\u0430"  # drawn like the Latin one
LETTERS = string.ascii_letters[:24]
Shape = Sequence[tuple[int, int]]


def quiet(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def shapes(seed: int, characters: str = LETTERS, jitter: int = 120) -> dict[str, Shape]:
    """A polygon for each character: the character's own, moved a little by the font's seed."""
    random = np.random.default_rng(seed)
    corners = {}
    for character in characters:
        own = np.random.default_rng(ord(character)).integers(0, 700, (5, 2))
        corners[character] = [tuple(corner) for corner in (own + random.integers(-jitter, jitter, (5, 2))).tolist()]
    return corners


def write_font(file: Path, names: dict[str, str], polygons: dict[str, Shape | None], *, colour: bool = False) -> None:
    """A TrueType font of polygons; a character whose polygon is None gets the sign for a missing one."""
    glyph_of = {char: ".notdef" if polygon is None else f"u{ord(char):04X}" for char, polygon in polygons.items()}
    drawn: dict[str, Shape] = {".notdef": [(0, 0), (0, 700), (500, 700), (500, 0)]}
    drawn.update({glyph_of[character]: polygon for character, polygon in polygons.items() if polygon is not None})
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(drawn))
    builder.setupCharacterMap({ord(character): glyph for character, glyph in glyph_of.items()})
    outlines = {}
    for name, polygon in drawn.items():
        pen = TTGlyphPen(None)
        if polygon:
            pen.moveTo(polygon[0])
            for corner in polygon[1:]:
                pen.lineTo(corner)
            pen.closePath()
        outlines[name] = pen.glyph()
    builder.setupGlyf(outlines)
    builder.setupHorizontalMetrics(dict.fromkeys(drawn, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable(names)
    builder.setupOS2()
    builder.setupPost()
    if colour:
        builder.setupCOLR({"u0061": [("u0062", 0)]})
        builder.setupCPAL([[(1.0, 0.0, 0.0, 1.0)]])
    file.parent.mkdir(parents=True, exist_ok=True)
    builder.save(file)


def named(family: str, style: str = "Regular") -> dict[str, str]:
    return {"familyName": family, "styleName": style, "fullName": f"{family} {style}", "psName": f"{family}-{style}"}


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Lato", "lato"),
        ("Lato Black", "lato"),
        ("LATO Semi-Bold Italic", "lato"),
        ("Roboto_Condensed", "roboto"),
        ("LM Roman 10", "lm"),
        ("Source Serif 4", "sourceserif"),
        ("\uff2d\uff0b 1p", "m1p"),
        ("Small Caps", "smallcaps"),  # nothing but style words is a name all the same
        ("2010", "2010"),
        ("源ノ角ゴシック", "源ノ角ゴシック"),
    ],
)
def test_family_is_the_name_without_style_words(name: str, family: str) -> None:
    assert normalised_family(name) == family


def test_faces_are_read_with_the_typographic_family(tmp_path: Path) -> None:
    write_font(tmp_path / "one" / "a.ttf", named("Alpha"), shapes(1))
    write_font(tmp_path / "one" / "b.ttf", {**named("Alpha Deco"), "typographicFamily": "Alpha"}, shapes(2, "abc"))
    write_font(tmp_path / "two" / "copy.ttf", named("alpha"), shapes(3, "abcd"))  # a full name that is known
    write_font(tmp_path / "two" / "colour.ttf", named("Colour"), shapes(4), colour=True)
    (tmp_path / "two" / "broken.otf").write_bytes(b"OTTO, but not really")
    (tmp_path / "two" / "readme.txt").write_text("no font")
    faces = read_faces(tmp_path, quiet, workers=1)
    assert [(face.file, face.name, face.family) for face in faces.kept] == [
        ("one/a.ttf", "Alpha Regular", "alpha"),
        ("one/b.ttf", "Alpha Deco Regular", "alpha"),
    ]
    assert faces.kept[1].codepoints.tolist() == [ord(character) for character in "abc"]
    assert faces.left_out == {
        "unreadable files": 1,
        "colour faces": 1,
        "faces without characters": 0,
        "faces of a known name": 1,
    }
    save_faces(tmp_path / "faces.npz", faces.kept)
    assert repr(load_faces(tmp_path / "faces.npz")) == repr(faces.kept)


def test_drawing_skips_tofu_blanks_and_repeated_shapes(tmp_path: Path) -> None:
    polygons: dict[str, Shape | None] = {**shapes(0, "abcd"), "b": None, "c": []}
    polygons["d"] = polygons["a"]
    write_font(tmp_path / "font.ttf", named("Alpha"), polygons)
    file, codepoints = str(tmp_path / "font.ttf"), [ord(character) for character in "abcdz"]  # it has no z
    drawn, images = draw_face(FaceGlyphs(file, 0, codepoints))
    assert [chr(codepoint) for codepoint in drawn] == ["a"]
    assert images.shape == (1, 32, 32)
    assert images.max() == 255
    drawn, images = draw_face(FaceGlyphs(file, 0, codepoints, distinct=False))
    assert [chr(codepoint) for codepoint in drawn] == ["a", "d"]
    np.testing.assert_array_equal(images[0], images[1])


def test_a_file_that_is_no_font_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(b"nothing")
    drawn, images = draw_face(FaceGlyphs(str(tmp_path / "font.ttf"), 0, [97]))
    assert (drawn, images.shape) == ([], (0, 32, 32))


def test_classes_are_widespread_and_do_not_look_alike(tmp_path: Path) -> None:
    faces = []
    for number in range(4):
        polygons = dict(shapes(number, f"abc{CYRILLIC_A}\u043aか中\u0301"))
        polygons[CYRILLIC_A] = polygons["a"]
        if number == 0:
            polygons["\u043a"] = polygons["b"]  # alike in one face of four only
        if number != 3:
            del polygons["c"]
        write_font(tmp_path / f"{number}.ttf", named(f"Family {'abcd'[number]}"), polygons)
    faces = read_faces(tmp_path, quiet, workers=1).kept
    chosen = choose_classes(tmp_path, faces, quiet, classes=5, east_asian=1, fewest_faces=2, workers=1)
    # c is in one face, U+0301 is a mark; two more East Asian characters take the places that Western ones leave
    assert [chr(codepoint) for codepoint in chosen] == ["a", "b", "\u043a", "か", "中"]
    fewer = choose_classes(tmp_path, faces, quiet, classes=3, east_asian=1, fewest_faces=2, workers=1)
    assert [chr(codepoint) for codepoint in fewer] == ["a", "b", "か"]


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Twelve families of ten random images in five classes. Planted: rows 30 to 32 repeat rows 70 to 72 exactly,
    rows 33 to 35 nearly, rows 36 to 37 nearly but as another class."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (120, 32, 32)).astype(np.uint8)
    labels = np.tile(np.arange(5, dtype=np.int16), 24)
    pixels[30:38] = pixels[70:78]
    pixels[33:38, :2, :2] ^= 7
    labels[36:38] = (labels[36:38] + 1) % 5
    return pixels, labels, np.repeat([f"family {number:02}" for number in range(12)], 10)


def split_of(drawn: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int) -> Split:
    pixels, labels, families = drawn
    return split_by_family(pixels, labels, families, quiet, candidates=30, largest_family=20, seed=seed)


@pytest.mark.parametrize("seed", range(12))
def test_no_family_is_on_both_sides_and_no_duplicate_among_the_queries(
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray], seed: int
) -> None:
    families = drawn[2]
    split = split_of(drawn, seed)
    query_families, database_families = set(families[split.queries]), set(families[split.database])
    assert not query_families & database_families
    assert set(split.query_families) >= query_families
    assert len(split.query_families) == 3
    assert split.exact_duplicates == 3
    planted = {"family 03", "family 07"}
    across = len(planted & set(split.query_families)) == 1
    assert split.near_duplicates == (3 if across else 0)
    assert len(split.queries) + len(split.database) + split.near_duplicates == 117
    if across:  # of exact duplicates the database keeps its own
        assert {30, 31, 32} & set(split.database.tolist()) or {70, 71, 72} & set(split.database.tolist())
    assert sorted(split.database.tolist()) != split.database.tolist()  # shuffled


def test_large_families_are_not_held_out(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    pixels, labels, families = drawn
    families = np.where(families < "family 06", "large", families)
    for seed in range(10):
        split = split_by_family(pixels, labels, families, quiet, candidates=60, largest_family=20, seed=seed)
        assert "large" not in split.query_families


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Debian of two packages, `fonts-one` and `fonts-two`: apt and dpkg-deb on PATH, and nothing else's cache."""
    archive, programs = tmp_path / "archive", tmp_path / "programs"
    for package, families in {"fonts-one": "abcd", "fonts-two": "efg"}.items():
        for family in families:
            write_font(archive / package / f"{family}.ttf", named(f"Family {family}"), shapes(ord(family)))
        (archive / package / "README").write_text("not a font")
        with tarfile.open(archive / f"{package}_1%3a1.0_all.deb", "w") as contents:
            contents.add(archive / package, f"./usr/share/fonts/{package}")
    sizes = {file.name.split("_")[0]: file.stat().st_size for file in archive.glob("*.deb")}
    stanzas = "\n\n".join(f"Package: {package}\nVersion: 1:1.0\nSize: {size}" for package, size in sizes.items())
    scripts = {
        "apt-cache": f"cat <<END\n{stanzas}\nEND",
        "apt-get": f'cp {archive}/"$2"_*.deb .',
        "dpkg-deb": 'cat "$2"',
    }
    programs.mkdir()
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("ADANNS_CACHE", str(tmp_path / "cache"))
    return programs


def test_packages_that_apt_does_not_know_are_reported(debian: Path, tmp_path: Path) -> None:
    found = fetch(["fonts-one", "fonts-none", "fonts-two"], tmp_path / "packages", quiet)
    assert found.missing == ["fonts-none"]
    assert found.versions() == {"fonts-one": "1:1.0", "fonts-two": "1:1.0"}
    unpack(found, tmp_path / "fonts", quiet, workers=1)
    assert len(list(tmp_path.glob("fonts/fonts-one/**/*.ttf"))) == 4
    assert not list(tmp_path.glob("fonts/**/README"))


def test_packages_that_lie_there_are_not_fetched_again(debian: Path, tmp_path: Path) -> None:
    fetch(["fonts-one"], tmp_path / "packages", quiet)
    (debian / "apt-get").write_text("#!/bin/sh\necho 'E: no network' >&2; exit 100\n")
    assert len(fetch(["fonts-one"], tmp_path / "packages", quiet).files) == 1
    (debian / "apt-cache").unlink()  # not on Debian, say: what lies there is all there is
    found = fetch(["fonts-one", "fonts-two"], tmp_path / "packages", quiet)
    assert ([file.name for file in found.files], found.missing) == (["fonts-one_1%3a1.0_all.deb"], ["fonts-two"])


def test_a_download_that_fails_says_what_to_do(debian: Path, tmp_path: Path) -> None:
    (debian / "apt-get").write_text("#!/bin/sh\necho 'E: no network' >&2; exit 100\n")
    with pytest.raises(DatasetUnavailableError, match=r"fonts-one: E: no network\): run `apt-get update`"):
        fetch(["fonts-one"], tmp_path / "packages", quiet)
    assert list((tmp_path / "packages").iterdir()) == []


def test_without_any_package_there_is_no_data_set(debian: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailableError, match="apt knows none of them"):
        fetch(["fonts-none"], tmp_path / "packages", quiet)


def test_a_damaged_package_is_named(debian: Path, tmp_path: Path) -> None:
    (tmp_path / "fonts-bad_1_all.deb").write_bytes(b"not an archive")
    (debian / "dpkg-deb").write_text("#!/bin/sh\nexit 2\n")
    with pytest.raises(ValueError, match=r"fonts-bad_1_all.deb: dpkg-deb cannot read it; remove the file"):
        unpack(Packages([tmp_path / "fonts-bad_1_all.deb"], []), tmp_path / "fonts", quiet, workers=1)


TINY = glyph_sets.GlyphSet(
    glyphs.Glyphs(classes=20, east_asian=0, held_out=50, fewest_faces=2),
    Recipe(
        name="tiny",
        cache_name="tiny-1",
        ladder=(8, 16),
        training=Training(width=4, epochs=2, batch=20, learning_rate=4e-3),
        rigid_dims=(16,),
        model_seconds=1.0,
    ),
)
TINY_PACKAGES = ("fonts-one", "fonts-none", "fonts-two")


def prepare_tiny(**arguments: Any) -> Path:
    return glyph_sets.make(TINY, packages=TINY_PACKAGES, workers=1, **arguments)


def test_from_packages_to_a_data_set(debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare_tiny()
    dataset = datasets.load(f"npy:{folder}")
    assert dataset.ladder == (8, 16)
    assert len(dataset.database) + len(dataset.queries) == 7 * 20  # 7 families of one face each
    assert len(dataset.queries) == 2 * 20
    assert dataset.database.dtype == np.float16
    assert set(dataset.rigid) == {16}
    assert dataset.rigid[16].database.shape == dataset.database.shape
    assert not np.array_equal(dataset.rigid[16].queries, dataset.queries)
    assert dataset.class_names is not None
    assert dataset.class_names[0].startswith("U+0")
    assert dataset.classifier is not None
    assert np.bincount(dataset.database_labels).tolist() == [5] * 20  # type: ignore[arg-type]
    about = json.loads((folder / "about.json").read_text())
    assert about["missing_packages"] == "fonts-none"
    assert about["packages"] == "fonts-one 1:1.0; fonts-two 1:1.0"
    assert (about["faces"], about["images_drawn"]) == ("7", "140")
    assert "train" in about["seconds"]
    assert "draw" in about["seconds"]

    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.npy")}
    added = prepare_tiny(rigid_dims=(8, 16))  # 16 is there, 8 is added
    assert added == folder
    assert before.items() <= {file: file.stat().st_mtime_ns for file in folder.rglob("*.npy")}.items()
    assert datasets.load(f"npy:{folder}").rigid[8].database.shape == (100, 8)

    monkeypatch.setenv("PATH", "")  # all is there: nothing is fetched, drawn or trained again
    monkeypatch.setattr(models, "make_model", None)
    assert prepare_tiny(rigid_dims=(8, 16)) == folder


def test_a_run_that_was_cut_off_goes_on_behind_its_last_finished_stage(
    debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*arguments: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "split_by_family", cut_off)
        with pytest.raises(KeyboardInterrupt):
            prepare_tiny()
    with monkeypatch.context() as patch:
        for name in ("fetch", "read_faces", "choose_classes", "draw_glyphs"):
            patch.setattr(glyphs, name, cut_off)
        patch.setattr(models, "embed", cut_off)  # of the first model, when it is trained
        with pytest.raises(KeyboardInterrupt):
            prepare_tiny()
    assert (tmp_path / "cache" / ".tiny-1.partial" / "network.pt").exists()
    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "split_by_family", cut_off)
        trained: list[tuple[int, ...]] = []
        train_model = models.train_model
        patch.setattr(
            models, "train_model", lambda task, progress: (trained.append(task.ladder), train_model(task, progress))
        )
        folder = prepare_tiny()
    assert trained == [(16,)]  # the Matryoshka model was trained before
    assert not list((tmp_path / "cache").glob(".*partial"))
    assert len(datasets.load(f"npy:{folder}").queries) == 40


def test_a_full_disk_is_found_before_anything_is_written(debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_tiny(rigid_dims=())
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=disk.SPARE_BYTES + 1000))
    with pytest.raises(DatasetUnavailableError, match=r"a rigid model at 8 dims takes 0\.0 GB, .* set ADANNS_CACHE"):
        prepare_tiny(rigid_dims=(8,))


def test_copies_are_made_of_the_database_only(debian: Path) -> None:
    plain = dataclasses.replace(TINY.recipe, rigid_dims=())
    with_copies = dataclasses.replace(plain, name="copied", cache_name="copied-1")
    copied_glyphs = dataclasses.replace(TINY.glyphs, copies=2)
    prepare_tiny(rigid_dims=())
    glyph_sets.make(glyph_sets.GlyphSet(copied_glyphs, with_copies), packages=TINY_PACKAGES, workers=1)
    cache = debian.parent / "cache"
    originals, labels = read_side(cache / "tiny-images-1", "database")
    images, copied_labels = read_side(cache / "copied-images-1", "database")
    np.testing.assert_array_equal(np.bincount(copied_labels), 3 * np.bincount(labels))
    seen = {image.tobytes(): label for image, label in zip(originals, labels.tolist(), strict=True)}
    unchanged = [seen[image.tobytes()] for image in images if image.tobytes() in seen]
    assert len(unchanged) == len(originals)  # each once, the copies all differ
    assert all(seen.get(image.tobytes(), label) == label for image, label in zip(images, copied_labels, strict=True))
    for side in read_side(cache / "tiny-images-1", "query"), read_side(cache / "copied-images-1", "query"):
        np.testing.assert_array_equal(side[0], read_side(cache / "tiny-images-1", "query")[0])
    assert json.loads((cache / "copied-1" / "about.json").read_text())["distorted_copies_of_each"] == "2"


def test_training_goes_on_from_its_checkpoint(debian: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare_tiny(rigid_dims=())
    expected = np.load(whole / "database.npy")
    whole.rename(tmp_path / "whole")
    monkeypatch.setattr(models, "CHECKPOINT_STEPS", 3)
    with monkeypatch.context() as patch:
        train = models.train

        def train_until_killed(*arguments: Any, **named: Any) -> Any:
            def killed(what: str, done: int, total: int) -> None:
                if done == 7:
                    raise KeyboardInterrupt

            return train(*arguments, **{**named, "progress": killed})

        patch.setattr(models, "train", train_until_killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_tiny(rigid_dims=())
    resumed = prepare_tiny(rigid_dims=())
    assert json.loads((resumed / "about.json").read_text())["resumed_at"] == "6"
    np.testing.assert_array_equal(np.load(resumed / "database.npy"), expected)


@pytest.mark.parametrize(
    ("flags", "fast"), [("avx512f avx512_bf16", False), ("avx512_bf16 amx_bf16", True), ("", False)]
)
def test_bfloat16_is_used_only_where_matrices_of_it_are_multiplied(
    monkeypatch: pytest.MonkeyPatch, flags: str, fast: bool
) -> None:
    monkeypatch.setattr(models, "cpu_info", lambda: {"flags": flags})
    assert models.half_precision_is_fast() is fast


def test_faces_with_one_name_keep_the_one_with_most_characters(tmp_path: Path) -> None:
    write_font(tmp_path / "a.ttf", named("Alpha"), shapes(1, "abc"))
    write_font(tmp_path / "b.ttf", named("Alpha"), shapes(1, "abcd"))
    (face,) = read_faces(tmp_path, quiet, workers=1).kept
    assert isinstance(face, Face)
    assert face.file == "b.ttf"
