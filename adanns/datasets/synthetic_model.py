"""What are synthetic Matryoshka embeddings drawn from, so that they behave like ImageNet-1K's?

A row is

    mean of the class it looks like + spread * level of the band * (factors shared by all bands + independent noise)

and each part stands for something that real embeddings show:

- Some images look like another class at any dims, which is why published accuracy saturates near 71 %: a row looks
  like its own class or, with probability `confused`, like one of the next three.
- Classes come in groups: the mean of a class is that of its superclass of 20 plus its own, in equal parts.
- Early dims tell classes apart, later ones refine: `LEVELS`, the standard deviation within a class relative to that of
  the class means, rises from band to band. These nine numbers are what was calibrated.
- Images of a class differ in a few ways: half of the variance within a class comes from 12 factors that all bands
  show, so that neighbours at a prefix tend to be neighbours at all dims.
- Queries were not trained on: their spread varies more from row to row than that of the database.

The rigid twin is the same vectors turned by a random rotation. Distances at all dims are equal; a prefix is a random
projection and falls off about as published for random features.

Published figures: MRL (arXiv 2205.13147). `python -m benchmarks calibration` measures these vectors beside them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from adanns.ladder import default_ladder

DIMS = 2048
LADDER = default_ladder(DIMS)
# Found by bisection, band after band, each given the ones before: exact 1-NN over all rows is to find a row that looks
# like the query as often as MRL's published top-1 at the rung, over that at 2048 dims, times 94 %.
LEVELS = (0.24, 0.53, 0.70, 0.98, 1.13, 1.28, 1.33, 1.36, 1.36)
DECAY = 0.93  # of the standard deviation, from band to band
SUPERCLASSES, SUPERCLASS_SIZE = 50, 20
CONFUSABLE = 3
FACTORS = 12
FACTOR_SHARE = 0.5  # of the variance within a class
CHUNK_ROWS = 2048
_QUANTILES = 1 << 16

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Database or queries.

    number: keeps their random streams apart. confused: probability of looking like another class.
    spread: standard deviation of the logarithm of a row's spread.
    """

    number: int
    confused: float
    spread: float


DATABASE = Part(0, confused=0.08, spread=0.2)
QUERIES = Part(1, confused=0.18, spread=0.72)


@dataclass(frozen=True)
class Model:
    """Draws any chunk of rows alone, and of it any prefix; alike on all machines up to rounding.

    classes: fewer than 1,000 keep the first ones. levels: see LEVELS.
    """

    seed: int = 0
    classes: int = SUPERCLASSES * SUPERCLASS_SIZE
    levels: tuple[float, ...] = LEVELS

    def labels(self, first: int, rows: int) -> Ints:
        """The classes of rows [first, first + rows), int64: all classes in turn."""
        return np.arange(first, first + rows) % self.classes

    def chunk(self, part: Part, number: int, *, rows: int = CHUNK_ROWS, dims: int = DIMS) -> Floats:
        """The first `rows` rows from number * CHUNK_ROWS on: float32 (rows, dims); dims is a rung of LADDER."""
        key = (self.seed, part.number, number)
        looks_like = self._looks_like(part, number)[:rows]
        spread = np.exp(np.float32(part.spread) * _normals((rows, 1), *key, 1))
        factors = spread * _normals((rows, FACTORS), *key, 2)
        vectors = np.empty((rows, dims), np.float32)
        noise_share = np.float32(np.sqrt(1 - FACTOR_SHARE))
        for place, (start, stop) in enumerate(_bands(dims)):
            band = _normals((rows, stop - start), *key, 3 + place)
            band *= spread * noise_share
            band += factors @ self._factor_directions[:, start:stop]
            band *= np.float32(self.levels[place])
            band += self._class_means[looks_like, start:stop]
            np.multiply(band, np.float32(DECAY**place), out=vectors[:, start:stop])
        return vectors

    def rotated(self, vectors: Floats) -> Floats:
        """The rigid twin of rows (rows, 2048), float32: random signs, a Hadamard transform, dims in random order."""
        signs = np.where(_random_bits((DIMS,), self.seed, 5) < _QUANTILES // 2, -1, 1).astype(np.float32)
        order = _random_bits((DIMS,), self.seed, 6).argsort(kind="stable")
        # The transform of 32 x 64 dims is that of the 64 in each group and that of the 32 groups.
        groups = (vectors * (signs / np.float32(np.sqrt(DIMS)))).reshape(-1, 64) @ _hadamard(64)
        return np.take((_hadamard(32) @ groups.reshape(-1, 32, 64)).reshape(-1, DIMS), order, axis=1)

    def _looks_like(self, part: Part, number: int) -> Ints:
        """The class that each row of a chunk looks like, int64 (CHUNK_ROWS,)."""
        chance, which = _random_bits((2, CHUNK_ROWS), self.seed, part.number, number, 0).astype(np.int64)
        own = self.labels(number * CHUNK_ROWS, CHUNK_ROWS)
        group, place = np.divmod(own, SUPERCLASS_SIZE)
        other = group * SUPERCLASS_SIZE + (place + 1 + which % CONFUSABLE) % SUPERCLASS_SIZE
        return np.where(chance < part.confused * _QUANTILES, other, own)

    @cached_property
    def _class_means(self) -> Floats:
        """Standard normal, before bands are scaled: (1000, 2048)."""
        superclasses = _normals((SUPERCLASSES, DIMS), self.seed, 2)
        classes = _normals((SUPERCLASSES * SUPERCLASS_SIZE, DIMS), self.seed, 3)
        return np.asarray((np.repeat(superclasses, SUPERCLASS_SIZE, axis=0) + classes) / np.float32(np.sqrt(2)))

    @cached_property
    def _factor_directions(self) -> Floats:
        """How much each factor moves each dim, before bands are scaled: (12, 2048)."""
        return np.asarray(_normals((FACTORS, DIMS), self.seed, 4) * np.float32(np.sqrt(FACTOR_SHARE / FACTORS)))


def _bands(dims: int) -> Iterator[tuple[int, int]]:
    return pairwise((0, *LADDER[: LADDER.index(dims) + 1]))


def _hadamard(dims: int) -> Floats:
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < dims:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def _random_bits(shape: tuple[int, ...], *key: int) -> npt.NDArray[np.uint16]:
    """Uniform 16-bit integers. Raw bits, since numpy keeps those alike in all versions, normals it does not."""
    count = math.prod(shape)
    words = np.random.PCG64(key).random_raw(-(-count // 4)).astype("<u8", copy=False)
    return np.asarray(words.view("<u2")[:count].reshape(shape))


def _normals(shape: tuple[int, ...], *key: int) -> Floats:
    """Standard normal to 16 bits: nothing lies beyond 4.3."""
    return np.asarray(_normal_quantiles()[_random_bits(shape, *key)])


@cache
def _normal_quantiles() -> Floats:
    normal = NormalDist()
    return np.array([normal.inv_cdf((number + 0.5) / _QUANTILES) for number in range(_QUANTILES)], np.float32)
