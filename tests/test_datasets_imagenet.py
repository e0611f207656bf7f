"""The papers' ImageNet arrays: whichever names they have, and what is wrong with them is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from adanns import datasets
from adanns.datasets import imagenet

ROWS, QUERIES, DIMS = 12, 5, 16
RANDOM = np.random.default_rng(0)


def write(folder: Path, stem: str, rows: int, dims: int, *, labels: Any = None, dtype: Any = np.uint16) -> None:
    """A pair of arrays as the repositories write them: numpy.save, labels as (rows, 1)."""
    np.save(folder / f"{stem}-X.npy", RANDOM.random((rows, dims), np.float32) * 3)
    values = np.arange(rows) * 7 % 1000 if labels is None else labels
    np.save(folder / f"{stem}-y.npy", np.asarray(values, dtype).reshape(-1, 1))


def write_both(folder: Path, stem: str, dims: int = DIMS, **options: Any) -> None:
    write(folder, stem.format("train"), ROWS, dims, **options)
    write(folder, stem.format("val"), QUERIES, dims, **options)


@pytest.mark.parametrize("dtype", [np.uint16, np.float16])
@pytest.mark.parametrize(
    "stem",
    [
        f"1K_{{}}_mrl1_e0_rr{DIMS}",  # AdANNS writes these
        f"1K_{{}}_mrl1_e0_ff{DIMS}",  # and reads these, which MRL writes
        f"imagenet1k_{{}}_mrl1_e0_ff{DIMS}",
        f"imagenet1k_{{}}_nesting1_sh0_ff{DIMS}",
    ],
)
def test_1k_is_read_under_every_name_and_label_type(tmp_path: Path, stem: str, dtype: type) -> None:
    write_both(tmp_path, stem, dtype=dtype)
    dataset = datasets.load(f"imagenet-1k:{tmp_path}")
    assert dataset.name == "imagenet-1k"
    assert (dataset.metric, dataset.ladder) == ("cosine", (8, 16))
    assert isinstance(dataset.database, np.memmap)
    for part, vectors, labels in (
        ("train", dataset.database, dataset.database_labels),
        ("val", dataset.queries, dataset.query_labels),
    ):
        np.testing.assert_array_equal(vectors, np.load(tmp_path / f"{stem.format(part)}-X.npy"))
        assert labels is not None
        assert labels.dtype == np.uint16
        np.testing.assert_array_equal(labels, np.arange(len(vectors)) * 7)


def test_the_source_names_the_files_and_not_the_folder(tmp_path: Path) -> None:
    write_both(tmp_path, f"1K_{{}}_mrl1_e0_rr{DIMS}")
    source = datasets.load(f"imagenet-1k:{tmp_path}").source
    assert f"1K_train_mrl1_e0_rr{DIMS}-X.npy" in source
    assert str(tmp_path) not in source


def test_4k_has_4202_classes(tmp_path: Path) -> None:
    write_both(tmp_path, f"imagenet4m_{{}}_nesting1_sh0_ff{DIMS}")
    write(tmp_path, f"imagenet4m_val_nesting1_sh0_ff{DIMS}", 3, DIMS, labels=[0, 2049, 4201])
    dataset = datasets.load(f"imagenet-4k:{tmp_path}")
    assert dataset.query_labels is not None
    assert dataset.query_labels.tolist() == [0, 2049, 4201]


def test_v2_queries_search_the_database_of_1k(tmp_path: Path) -> None:
    write_both(tmp_path, f"1K_{{}}_mrl1_e0_rr{DIMS}")
    write(tmp_path, f"V2_val_mrl1_e0_rr{DIMS}", 3, DIMS)
    dataset = datasets.load(f"imagenet-v2:{tmp_path}")
    np.testing.assert_array_equal(dataset.database, datasets.load(f"imagenet-1k:{tmp_path}").database)
    assert dataset.queries.shape == (3, DIMS)


def test_rigid_arrays_beside_become_twins(tmp_path: Path) -> None:
    write_both(tmp_path, f"1K_{{}}_mrl1_e0_rr{DIMS}")
    for dims in (16, 8):
        write_both(tmp_path, f"1K_{{}}_mrl0_e0_rr{dims}", dims)
    (tmp_path / "1K_val_mrl0_e0_rr8-y.npy").unlink()  # their own labels are only compared
    write(tmp_path, f"V2_val_mrl1_e0_rr{DIMS}", 3, DIMS)
    dataset = datasets.load(f"imagenet-1k:{tmp_path}")
    assert list(dataset.rigid) == [8, 16]
    np.testing.assert_array_equal(dataset.rigid[8].database, np.load(tmp_path / "1K_train_mrl0_e0_rr8-X.npy"))
    np.testing.assert_array_equal(dataset.rigid[8].queries, np.load(tmp_path / "1K_val_mrl0_e0_rr8-X.npy"))
    assert dataset.rigid[8].query_labels is dataset.query_labels
    assert datasets.load(f"imagenet-v2:{tmp_path}").rigid == {}  # rigid queries of V2 are not there


def test_the_tied_model_is_taken_if_asked_for_or_alone(tmp_path: Path) -> None:
    write_both(tmp_path, f"1K_{{}}_mrl1_e1_rr{DIMS}")
    assert "mrl1_e1" in datasets.load(f"imagenet-1k:{tmp_path}").source
    with pytest.raises(FileNotFoundError, match=r"no MRL queries of imagenet-1k; expected .* 1K_val_mrl1_e0_rr2048-X"):
        imagenet.load("imagenet-1k", tmp_path, tied=False)
    write_both(tmp_path, f"1K_{{}}_mrl1_e0_rr{DIMS}")
    assert "mrl1_e0" in datasets.load(f"imagenet-1k:{tmp_path}").source
    assert "mrl1_e1" in imagenet.load("imagenet-1k", tmp_path, tied=True).source


def test_of_several_matryoshka_arrays_the_widest_is_taken(tmp_path: Path) -> None:
    for dims in (8, 32, 16):
        write_both(tmp_path, f"1K_{{}}_mrl1_e0_rr{dims}", dims)
    assert datasets.load(f"imagenet-1k:{tmp_path}").ladder == (8, 16, 32)


# ---- what is refused

TRAIN, VAL = f"1K_train_mrl1_e0_rr{DIMS}", f"1K_val_mrl1_e0_rr{DIMS}"


def removed(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def labels(stem: str, values: npt.NDArray[Any]) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / f"{stem}-y.npy", values)


def vectors(stem: str, rows: int, dims: int, **options: Any) -> Callable[[Path], object]:
    return lambda folder: write(folder, stem, rows, dims, **options)


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (removed(f"{TRAIN}-X.npy"), FileNotFoundError, rf"/{TRAIN}-X\.npy: no such file, nor one of the older names"),
        (removed(f"{VAL}-X.npy"), FileNotFoundError, r"no queries of imagenet-1k; .* 1K_val_mrl1_e0_rr2048-X\.npy"),
        (removed(f"{TRAIN}-y.npy"), FileNotFoundError, rf"/{TRAIN}-y\.npy: no such file"),
        (cut(f"{TRAIN}-X.npy"), ValueError, rf"/{TRAIN}-X\.npy: truncated: 895 bytes, .* means 896"),
        (cut(f"{VAL}-y.npy"), ValueError, rf"/{VAL}-y\.npy: truncated"),
        (vectors(VAL, QUERIES, 8), ValueError, rf"/{VAL}-X\.npy: 8 dims, but its name says {DIMS}"),
        (labels(VAL, np.zeros((4, 1), np.uint16)), ValueError, rf"/{VAL}-y\.npy: shape \(4, 1\); expected \(5, 1\)"),
        (labels(VAL, np.zeros((5, 1), np.float32)), ValueError, rf"/{VAL}-y\.npy: dtype float32; expected uint16"),
        (labels(VAL, np.array([0, 1, 1000, 3, 4], np.uint16)), ValueError, "label 1000 in row 2; expected .* 0 to 999"),
        (labels(VAL, np.array([0, 1, 2, -3, 4], np.int64)), ValueError, "label -3 in row 3; expected .* 0 to 999"),
        (labels(VAL, np.array([0, 1.5, 2, 3, 4], np.float16)), ValueError, "label 1.5 in row 1; expected an integer"),
        (labels(VAL, np.array([0, 1, 2, 3, np.nan], np.float16)), ValueError, "label nan in row 4"),
        (vectors(f"imagenet1k_val_nesting1_sh0_ff{DIMS}", 5, 16), ValueError, rf"the same array as {VAL}-X\.npy"),
        (vectors("1K_val_mrl0_e0_rr8", QUERIES, 8), FileNotFoundError, r"/1K_train_mrl0_e0_rr8-X\.npy: no such file"),
        (lambda folder: write_both(folder, "1K_{}_mrl0_e0_rr8", 4), ValueError, r"shape \(12, 4\); expected \(12, 8\)"),
    ],
)
def test_damage_is_named(tmp_path: Path, spoil: Callable[[Path], object], error: type[Exception], message: str) -> None:
    write_both(tmp_path, f"1K_{{}}_mrl1_e0_rr{DIMS}")
    spoil(tmp_path)
    with pytest.raises(error, match=message):
        datasets.load(f"imagenet-1k:{tmp_path}")


def test_rigid_arrays_of_other_images_are_refused(tmp_path: Path) -> None:
    write_both(tmp_path, f"1K_{{}}_mrl1_e0_rr{DIMS}")
    write(tmp_path, "1K_val_mrl0_e0_rr8", QUERIES, 8)
    write(tmp_path, "1K_train_mrl0_e0_rr8", ROWS, 8, labels=np.arange(ROWS))
    with pytest.raises(ValueError, match=r"/1K_train_mrl0_e0_rr8-y\.npy: not the labels of .* other images"):
        datasets.load(f"imagenet-1k:{tmp_path}")


def test_float16_labels_of_4k_are_refused_with_the_reason(tmp_path: Path) -> None:
    write_both(tmp_path, f"4K_{{}}_mrl1_e0_rr{DIMS}", dtype=np.float16)
    with pytest.raises(
        ValueError, match=r"-y\.npy: labels in float16, which rounds integers beyond 2,048 .* as uint16"
    ):
        datasets.load(f"imagenet-4k:{tmp_path}")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"/nowhere: no such folder; imagenet-v2:DIR .* V2_val_mrl1_e0_rr2048-X"
    ):
        datasets.load(f"imagenet-v2:{tmp_path / 'nowhere'}")
