"""WordNet's glosses as text vectors: 117,659 synsets to search, 5,000 example sentences as queries.

The texts come from Debian's `wordnet-base` (WordNet 3.0), the vectors from the PyPI package `wordllama`, whose
weights lie inside it: the mean of a text's token vectors, 256 dims. WordLlama was trained with the Matryoshka loss at
64, 128 and 256 dims, so these are the ladder. Shorter prefixes were not trained and lose the neighbours. Measured on
2,000 queries:

    dims                                               8     16     32     64    128    256
    the sentence's own synset among the first 10    .005   .045   .140   .251   .307   .339
    share of the exact top 10 among the first 200   .086   .298   .658   .936   .998  1.000

Labels are the numbers of WordNet's 45 lexicographer files.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from adanns.datasets import array_folder, commands
from adanns.datasets.cache import made_once
from adanns.datasets.dataset import Dataset, DatasetUnavailableError

LADDER = (64, 128, 256)
QUERIES = 5000
SEED = 0
CACHE_NAME = "wordnet-1"  # the number changes with the recipe, so that no old copy is taken for a new one
INSTALLED = Path("/usr/share/wordnet")  # where Debian's wordnet-base puts its files
PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
ABOUT = {
    "metric": "cosine",
    "source": "WordNet 3.0 glosses (Debian wordnet-base), embedded with WordLlama l2_supercat_256 (PyPI wordllama)",
    "licence": "WordNet 3.0 licence (texts), MIT (WordLlama)",
}
# WordNet's lexnames(5), in the order of their numbers.
# fmt: off
CLASS_NAMES = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact", "noun.attribute",
    "noun.body", "noun.cognition", "noun.communication", "noun.event", "noun.feeling", "noun.food",
    "noun.group", "noun.location", "noun.motive", "noun.object", "noun.person", "noun.phenomenon", "noun.plant",
    "noun.possession", "noun.process", "noun.quantity", "noun.relation", "noun.shape", "noun.state",
    "noun.substance", "noun.time", "verb.body", "verb.change", "verb.cognition", "verb.communication",
    "verb.competition", "verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion",
    "verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather", "adj.ppl",
)
# fmt: on


@dataclasses.dataclass(frozen=True)
class Synset:
    """One meaning: the number of its lexicographer file, its words, what they mean and how they are used."""

    file_number: int
    words: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]


def load() -> Dataset:
    """Map the cached arrays, making them on first use; DatasetUnavailableError says what to install."""
    dataset = array_folder.load(made_once(CACHE_NAME, _make), name="wordnet")
    return dataclasses.replace(dataset, class_names=CLASS_NAMES)


def parse_synsets(lines: Iterator[str]) -> Iterator[Synset]:
    """The synsets of a WordNet data file (its format is wndb(5)); licence lines start with two blanks."""
    for line in lines:
        if line.startswith("  "):
            continue
        fields, gloss = line.rstrip("\n").split(" | ", 1)
        _, file_number, _, word_count, *rest = fields.split()
        words = tuple(word.replace("_", " ") for word in rest[: 2 * int(word_count, 16) : 2])
        definition = re.split(r'; *"', gloss.strip())[0]
        yield Synset(int(file_number), words, definition, tuple(re.findall(r'"([^"]+)"', gloss)))


def _make(folder: Path) -> None:
    embedder = _Embedder()
    with tempfile.TemporaryDirectory() as download:
        source = _wordnet_folder(Path(download))
        synsets: list[Synset] = []
        for part in PARTS_OF_SPEECH:
            with (source / f"data.{part}").open(encoding="latin-1") as lines:
                synsets.extend(parse_synsets(lines))
    examples = [(synset.file_number, example) for synset in synsets for example in synset.examples]
    chosen = np.random.default_rng(SEED).permutation(len(examples))[:QUERIES]

    glosses = [f"{', '.join(synset.words)}: {synset.definition}" for synset in synsets]
    np.save(folder / "database.npy", embedder(glosses))
    np.save(folder / "queries.npy", embedder([examples[row][1] for row in chosen]))
    np.save(folder / "database_labels.npy", np.array([synset.file_number for synset in synsets], np.int16))
    np.save(folder / "query_labels.npy", np.array([examples[row][0] for row in chosen], np.int16))
    (folder / "ladder.json").write_text(json.dumps(LADDER), encoding="utf-8")
    (folder / "about.json").write_text(json.dumps(ABOUT), encoding="utf-8")


def _wordnet_folder(download: Path) -> Path:
    """The installed WordNet, else one unpacked from Debian's package under `download`; no root is needed for that."""
    if (INSTALLED / "data.noun").is_file():
        return INSTALLED
    try:
        commands.run("apt-get", "download", "wordnet-base", folder=download)
        (package,) = download.glob("wordnet-base*.deb")
        commands.run("dpkg", "-x", package.name, ".", folder=download)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise DatasetUnavailableError(
            f"the data set 'wordnet' needs WordNet's texts in {INSTALLED}, and they could not be downloaded "
            f"({commands.last_words(error)}): apt-get install wordnet-base"
        ) from error
    return download / "usr" / "share" / "wordnet"


class _Embedder:
    """WordLlama's text vectors, without its loader that asks a model hub: mean token vector, scaled to length 1."""

    batch = 4096  # texts; their token vectors take about 80 MB

    def __init__(self) -> None:
        try:
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer

            spec = importlib.util.find_spec("wordllama")
            if spec is None or spec.origin is None:
                raise ModuleNotFoundError("No module named 'wordllama'")
            package = Path(spec.origin).parent
            weights = load_file(package / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
            tokenizer = Tokenizer.from_file(str(package / "tokenizers" / "l2_supercat_tokenizer_config.json"))
        except (ImportError, OSError) as error:
            raise DatasetUnavailableError(
                f"the data set 'wordnet' needs WordLlama's weights ({error}): pip install wordllama (or adanns[bench])"
            ) from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._token_vectors = weights.astype(np.float32)
        self._tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        vectors = np.empty((len(texts), self._token_vectors.shape[1]), np.float32)
        for start in tqdm(range(0, len(texts), self.batch), desc="embed texts", disable=None):
            part = texts[start : start + self.batch]
            encoded = self._tokenizer.encode_batch(list(part), add_special_tokens=False)
            vectors[start : start + len(part)] = mean_directions([text.ids for text in encoded], self._token_vectors)
        return vectors


def mean_directions(
    token_lists: Sequence[Sequence[int]], token_vectors: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """The mean vector of each text's tokens (at least one), scaled to length 1: float32 (texts, dims)."""
    lengths = np.array([len(tokens) for tokens in token_lists])
    # The sum stands for the mean: the scaling cancels the division.
    sums = np.add.reduceat(token_vectors[np.concatenate(token_lists)], lengths.cumsum() - lengths, axis=0)
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)
