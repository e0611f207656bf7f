"""What is chosen about a data set and its models; plain values, so that reading a recipe needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# What benchmarks.prepare.image_network builds, in about.json's words.
NETWORK = "4 strided convolutions with residual blocks between them, a linear layer, batch normalisation"


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    width: channels of its first layer. rows: how many database images to train on, None: all. distort: on random
    affine copies of them. tied: one weight for all heads, MRL-E. prefix_weights: what each rung of the Matryoshka
    model's ladder counts in its loss (the paper's c_m), None: the same. batch is in images, learning_rate the peak of
    a one-cycle schedule.
    """

    width: int
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 0.02
    label_smoothing: float = 0.0
    distort: bool = False
    tied: bool = False
    prefix_weights: tuple[float, ...] | None = None
    rows: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """A data set's models: the ladder of the Matryoshka model, the dims of its rigid twins, expected seconds of all.

    cache_name: its folder in the cache; it ends in a number that changes with the recipe, so that no old copy is taken
    for a new one.
    """

    name: str
    cache_name: str
    ladder: tuple[int, ...]
    training: Training
    rigid_dims: tuple[int, ...]
    model_seconds: float


@dataclass(frozen=True)
class ModelTask:
    """One model: images from `images`, results into `folder`; a ladder of one rung makes it a rigid model."""

    images: Path
    folder: Path
    ladder: tuple[int, ...]
    classes: int
    training: Training
    threads: int = 1
