"""Data sets: what load() gives, what it refuses, and how a cached one comes to be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from adanns import datasets
from adanns.datasets import DatasetUnavailableError, icons, prepared, wordnet
from adanns.datasets.packing import pack, unpack


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADANNS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ---- names


def test_unknown_name_is_refused_with_the_list_of_names() -> None:
    with pytest.raises(ValueError, match=r"'glyphs'; choose icons, wordnet, .*, npy:DIR"):
        datasets.load("glyphs")


@pytest.mark.parametrize("name", ["npy:", "npy", "imagenet-1k", "imagenet-v2:"])
def test_arrays_of_ones_own_need_their_folder(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}': .* load '{name.rstrip(':')}:DIR'"):
        datasets.load(name)


def test_name_must_be_a_string() -> None:
    with pytest.raises(TypeError, match="str, not PosixPath"):
        datasets.load(Path("icons"))  # type: ignore[arg-type]


def test_available_names_are_listed() -> None:
    assert {"icons", "wordnet", "icons-full", "glyphs-1k", "glyphs-4k"} <= set(datasets.available())


@pytest.mark.parametrize("name", prepared.CACHE_NAMES)
def test_what_is_not_prepared_says_how_to_prepare_it(cache_folder: Path, name: str) -> None:
    with pytest.raises(DatasetUnavailableError, match=f"'{name}' is not in .*: python -m benchmarks prepare {name}$"):
        datasets.load(name)


@pytest.mark.parametrize("name", prepared.CACHE_NAMES)
def test_what_is_prepared_is_mapped_from_the_cache(cache_folder: Path, name: str) -> None:
    folder = cache_folder / prepared.CACHE_NAMES[name]
    folder.mkdir(parents=True)
    np.save(folder / "database.npy", np.ones((2, 8), np.float16))
    np.save(folder / "queries.npy", np.ones((1, 8), np.float16))
    dataset = datasets.load(name)
    assert dataset.name == name
    assert isinstance(dataset.database, np.memmap)


# ---- icons


@pytest.fixture(scope="module")
def icon_sample() -> datasets.Dataset:
    return datasets.load("icons")


def test_icons_have_the_promised_shape(icon_sample: datasets.Dataset) -> None:
    assert icon_sample.ladder == (8, 16, 32, 64, 128, 256, 512)
    assert icon_sample.metric == "cosine"
    assert icon_sample.database.shape == (len(icon_sample.database), 512)
    assert icon_sample.queries.shape == (len(icon_sample.queries), 512)
    assert len(icon_sample.database) > 45_000
    assert len(icon_sample.queries) > 5_000
    assert icon_sample.database.dtype == icon_sample.queries.dtype == np.float32
    assert np.isfinite(icon_sample.database).all()
    assert np.isfinite(icon_sample.queries).all()


def test_icon_labels_name_classes(icon_sample: datasets.Dataset) -> None:
    assert icon_sample.class_names is not None
    assert len(set(icon_sample.class_names)) == 1000
    for vectors, labels in (
        (icon_sample.database, icon_sample.database_labels),
        (icon_sample.queries, icon_sample.query_labels),
    ):
        assert labels is not None
        assert labels.shape == (len(vectors),)
        assert labels.min() >= 0
        assert labels.max() < 1000


def nearest(dataset: datasets.Dataset, dims: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Cosine to, and row of, the nearest database row of the first 500 queries."""
    database, queries = dataset.database[:, :dims], dataset.queries[:500, :dims]
    cosines = queries @ database.T / np.linalg.norm(database, axis=1) / np.linalg.norm(queries, axis=1, keepdims=True)
    return cosines.max(axis=1), cosines.argmax(axis=1)


# ICONS.md has the measured figures over all queries; the floors leave room for the 500 queries taken here.
@pytest.mark.parametrize(("dims", "floor"), [(8, 0.40), (16, 0.55), (64, 0.60), (512, 0.62)])
def test_icon_neighbours_show_the_same_thing(icon_sample: datasets.Dataset, dims: int, floor: float) -> None:
    assert icon_sample.database_labels is not None
    assert icon_sample.query_labels is not None
    rows = nearest(icon_sample, dims)[1]
    assert (icon_sample.database_labels[rows] == icon_sample.query_labels[:500]).mean() > floor


def test_no_icon_query_is_a_copy_of_a_database_row(icon_sample: datasets.Dataset) -> None:
    assert nearest(icon_sample, 512)[0].max() < 0.9995


def test_icon_queries_come_from_sets_the_database_has_nothing_of(icon_sample: datasets.Dataset) -> None:
    database_sets, query_sets = icons.row_sets()
    assert len(database_sets) == len(icon_sample.database)
    assert len(query_sets) == len(icon_sample.queries)
    assert not set(database_sets.tolist()) & set(query_sets.tolist())


def test_every_icon_set_is_listed_with_a_permissive_licence() -> None:
    page = icons.SAMPLE.with_name("LICENCES.md").read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")][1:]
    assert {line[0] for line in lines} == {prefix for sets in icons.row_sets() for prefix in np.unique(sets).tolist()}
    permissive = {"MIT", "Apache-2.0", "ISC", "CC0-1.0", "Unlicense", "BSD-3-Clause", "OFL-1.1"}
    assert {line[3] for line in lines} <= permissive


def test_the_sample_stays_under_8_megabytes() -> None:
    assert sum(file.stat().st_size for file in icons.SAMPLE.parent.iterdir()) <= 8_000_000


# ---- packing


def test_unpacked_vectors_are_within_half_a_step() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(301, 12)).astype(np.float32)
    vectors[:, 8:] += vectors[:, :4]  # later dims that the earlier ones foretell
    packed = pack(vectors, (4, 8, 12), [0.05, 0.1, 0.2])
    error = np.abs(unpack(packed) - vectors)
    assert error[:, :4].max() <= 0.0251
    assert error[:, 4:8].max() <= 0.0501
    assert error[:, 8:].max() <= 0.1001


def test_unpacked_numbers_do_not_lie_on_a_grid() -> None:
    vectors = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    assert len(np.unique(unpack(pack(vectors, (4,), [0.5]))[:, 0])) > 700


def test_predictable_dims_cost_fewer_bytes() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(2000, 8)).astype(np.float32)
    unpredictable = pack(vectors, (4, 8), [0.1, 0.1])["codes"].nbytes
    vectors[:, 4:] = vectors[:, :4][:, ::-1]
    assert pack(vectors, (4, 8), [0.1, 0.1])["codes"].nbytes < 0.75 * unpredictable


def test_a_step_too_small_for_8_bits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"step 0\.001 is too small: band \[0, 2\)"):
        pack(np.array([[1, 2], [-3, 4]], np.float32), (2,), [0.001])


# ---- wordnet


NOUNS = """  1 This software and database is being provided to you, the LICENSEE, by
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is known to have its own distinct existence
00002137 05 n 02 good_dog 0 dog 1 000 | a tame animal; "the dog barked all night"; "good dogs sit"
"""
OTHERS = '00001111 30 v 01 go 0 000 | move; "we go"\n'


class FakeEmbedder:
    """A text's length and 255 zeros."""

    def __call__(self, texts: list[str]) -> npt.NDArray[np.float32]:
        vectors = np.zeros((len(texts), 256), np.float32)
        vectors[:, 0] = [len(text) for text in texts]
        return vectors


@pytest.fixture
def small_wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in wordnet.PARTS_OF_SPEECH:
        (tmp_path / f"data.{part}").write_text(NOUNS if part == "noun" else OTHERS, encoding="latin-1")
    monkeypatch.setattr(wordnet, "INSTALLED", tmp_path)


def test_synsets_are_parsed() -> None:
    entity, dog = wordnet.parse_synsets(iter(NOUNS.splitlines(keepends=True)))
    assert entity == wordnet.Synset(3, ("entity",), "that which is known to have its own distinct existence", ())
    assert dog == wordnet.Synset(5, ("good dog", "dog"), "a tame animal", ("the dog barked all night", "good dogs sit"))


@pytest.mark.usefixtures("small_wordnet")
def test_wordnet_is_made_on_first_use(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "_Embedder", FakeEmbedder)
    dataset = datasets.load("wordnet")
    assert dataset.name == "wordnet"
    assert dataset.ladder == (64, 128, 256)
    assert dataset.metric == "cosine"
    assert isinstance(dataset.database, np.memmap)
    assert dataset.database[:, 0].tolist()[1] == len("good dog, dog: a tame animal")
    assert dataset.database_labels is not None
    assert dataset.database_labels.tolist() == [3, 5, 30, 30, 30]
    assert dataset.query_labels is not None
    assert sorted(dataset.query_labels.tolist()) == [5, 5, 30, 30, 30]
    assert dataset.class_names is not None
    assert (len(dataset.class_names), dataset.class_names[5]) == (45, "noun.animal")

    monkeypatch.setattr(wordnet, "_Embedder", None)  # a second load makes nothing
    np.testing.assert_array_equal(datasets.load("wordnet").queries, dataset.queries)
    assert [path.name for path in cache_folder.iterdir()] == [wordnet.CACHE_NAME]


@pytest.mark.parametrize("missing", ["wordllama", "tokenizers", "safetensors"])
def test_without_wordllama_the_error_says_what_to_install(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(sys.modules, f"{missing}.numpy", None)
    with pytest.raises(DatasetUnavailableError, match=r"pip install wordllama \(or adanns\[bench\]\)"):
        datasets.load("wordnet")
    assert list(cache_folder.iterdir()) == []


@pytest.mark.parametrize(
    "failure",
    [
        FileNotFoundError("No such file or directory: 'apt-get'"),
        subprocess.CalledProcessError(100, "apt-get", stderr="E: Unable to locate package wordnet-base\n"),
        None,  # the download ends well and leaves no package
    ],
)
def test_without_wordnet_the_error_says_what_to_install(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failure: Exception | None
) -> None:
    def run(*command: str, folder: Path) -> None:
        if failure:
            raise failure

    monkeypatch.setattr(wordnet, "INSTALLED", tmp_path / "nowhere")
    monkeypatch.setattr(wordnet, "_Embedder", FakeEmbedder)
    monkeypatch.setattr(wordnet.commands, "run", run)
    with pytest.raises(DatasetUnavailableError, match="apt-get install wordnet-base"):
        datasets.load("wordnet")
    assert list(cache_folder.iterdir()) == []


def test_text_vector_is_the_direction_of_the_mean_token_vector() -> None:
    token_vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    texts = [[0], [1, 1, 2], [4, 3]]
    for tokens, vector in zip(texts, wordnet.mean_directions(texts, token_vectors), strict=True):
        mean = token_vectors[tokens].mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-6)
