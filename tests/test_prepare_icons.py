"""How the icon sample is chosen: classes by name, whole sets held out, no look-alikes among the queries."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.prepare.icon_images import IconImages, IconSet, class_name, widespread_classes
from benchmarks.prepare.icon_report import accuracy_table, licence_table, nearest
from benchmarks.prepare.icon_split import HELD_OUT_SHARE, split_by_set


@pytest.mark.parametrize(
    ("icon", "shown"),
    [
        ("arrow-left", "arrow-left"),
        ("sharp-arrow-left-outline-2", "arrow-left"),
        ("home-filled", "home"),
        ("bxs-home", "home"),
        ("camera-24px", "camera"),
        ("file-3-line", "file"),
        ("line", "line"),
        ("outline", "outline"),
    ],
)
def test_class_is_the_name_without_style_affixes(icon: str, shown: str) -> None:
    assert class_name(icon) == shown


def test_widespread_classes_occur_in_the_most_sets() -> None:
    sets = [["home", "home-filled", "home-line"], ["star", "home"], ["star-bold", "key"], ["bug"]]
    assert widespread_classes(sets, 3) == ["home", "star", "bug"]  # bug before key: ties are alphabetical


@pytest.fixture
def images() -> IconImages:
    """Ten sets of ten random icons; set 7 has copies of set 3's, one grey level off in one pixel."""
    random = np.random.default_rng(0)
    pixels = random.choice(np.array([0, 255], np.uint8), (100, 32, 32))
    pixels[70:80] = pixels[30:40]
    pixels[70:80, 0, 0] ^= 1
    sets = np.repeat(np.arange(10, dtype=np.int16), 10)
    icon_sets = [IconSet(f"set{number}", "A | B", "someone", "MIT") for number in range(10)]
    return IconImages(pixels, np.zeros(100, np.int16), sets, ["square"], icon_sets)


@pytest.mark.parametrize("seed", range(20))
def test_split_holds_out_whole_sets_and_no_look_alikes(images: IconImages, seed: int) -> None:
    split = split_by_set(images, seed=seed)
    query_sets, database_sets = set(images.sets[split.queries].tolist()), set(images.sets[split.database].tolist())
    assert not query_sets & database_sets
    assert len(split.queries) + split.near_duplicates == 10 <= HELD_OUT_SHARE * 100
    assert split.near_duplicates == (0 if database_sets >= {3, 7} else 10)
    assert sorted([*split.database, *split.queries]) != [*split.database, *split.queries]  # shuffled


def test_nearest_agrees_with_sorting_all_cosines() -> None:
    random = np.random.default_rng(0)
    queries, database = (random.normal(size=(rows, 5)).astype(np.float32) for rows in (300, 40))
    cosines, rows = nearest(queries, database, 3)
    expected = queries @ database.T
    expected /= np.linalg.norm(queries, axis=1, keepdims=True) * np.linalg.norm(database, axis=1)
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1)[:, :3])
    np.testing.assert_allclose(cosines, -np.sort(-expected, axis=1)[:, :3], atol=1e-6)


def test_accuracy_of_unchanged_vectors_has_full_recall() -> None:
    vectors = np.repeat(np.eye(12, dtype=np.float32), 2, axis=0)  # rows 2i and 2i + 1 are alike
    rows = np.r_[0:24:2, 1:24:2]
    labels = (rows // 2).astype(np.int16)
    assert "| 12 | 1.0000 | 1.0000 | 1.0000 |" in accuracy_table(vectors[rows], vectors[rows], labels, 12, (12,))


def test_licence_table_counts_rows_and_escapes_bars(images: IconImages) -> None:
    table = licence_table(images.icon_sets, np.array([1, 1], np.int16), np.array([2], np.int16))
    assert "| set1 | A / B | someone | MIT | 2 | 0 |" in table
    assert "| set2 | A / B | someone | MIT | 0 | 1 |" in table
    assert "set3" not in table
