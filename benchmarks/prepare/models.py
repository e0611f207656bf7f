"""How does a folder of images become embeddings? Train a network on the database side, embed both sides."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch

from adanns.mrl import ArrayBatches, MatryoshkaCrossEntropy, MatryoshkaHead, embed, train
from adanns.progress import ProgressCallback
from benchmarks.machine import cpu_info
from benchmarks.prepare import facts
from benchmarks.prepare.image_folder import read_side, whole
from benchmarks.prepare.image_network import ImageNetwork, distorted
from benchmarks.prepare.recipe import ModelTask

WEIGHTS, CHECKPOINT = "network.pt", "checkpoint.pt"
CHECKPOINT_STEPS = 200
TRAINING_COST = 8  # times the cost of embedding an image
WARMUP = 0.15  # share of the steps
EMBED_BATCH = 1024


def make_model(task: ModelTask, progress: ProgressCallback) -> None:
    """Train, then embed; what is finished in the folder is skipped, training goes on from its checkpoint."""
    task.folder.mkdir(parents=True, exist_ok=True)
    rows = len(read_side(task.images, "database")[1])
    training_work = TRAINING_COST * task.training.epochs * min(rows, task.training.rows or rows)
    work = training_work + rows

    def training_step(_: str, done: int, total: int) -> None:
        progress("train", int(training_work * done / total), work)

    def embedding_step(_: str, done: int, total: int) -> None:
        progress("embed", training_work + int(rows * done / total), work)

    if not (task.folder / WEIGHTS).exists():
        train_model(task, training_step)
    embed_images(task, embedding_step)


def train_model(task: ModelTask, progress: ProgressCallback) -> None:
    """Write network.pt (the weights) and, of a Matryoshka model, classifier.npz."""
    training = task.training
    pixels, labels = read_side(task.images, "database")
    batches = ArrayBatches(
        pixels,
        labels,
        batch=training.batch,
        seed=training.seed,
        rows=np.arange(min(len(labels), training.rows or len(labels))),  # rows were shuffled: a random sample
        transform=distorted if training.distort else None,
    )
    weights = training.prefix_weights if len(task.ladder) > 1 else None  # a rigid model has one loss
    with _threads(task.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        network = ImageNetwork(training.width, task.ladder[-1])
        head = MatryoshkaHead(task.ladder, task.classes, tied=training.tied)
        report = train(
            network,
            MatryoshkaCrossEntropy(head, label_smoothing=training.label_smoothing, weights=weights),
            batches,
            epochs=training.epochs,
            learning_rate=training.learning_rate,
            weight_decay=training.weight_decay,
            warmup=WARMUP,
            mixed_precision="bfloat16" if half_precision_is_fast() else None,
            seed=training.seed,
            checkpoint=task.folder / CHECKPOINT,
            checkpoint_every=CHECKPOINT_STEPS,
            progress=progress,
        )
    if len(task.ladder) > 1:
        with whole(task.folder / "classifier.npz") as file:
            np.savez(file, **cast(dict[str, Any], head.export()))
    last_loss = float(report.losses[-CHECKPOINT_STEPS:].mean())
    facts.add(task.folder, training={**asdict(training), "steps": report.steps, "last_loss": last_loss})
    facts.add(task.folder, seconds={"train": report.seconds}, resumed_at=report.resumed_at)
    with whole(task.folder / WEIGHTS) as file:
        torch.save(network.state_dict(), file)
    (task.folder / CHECKPOINT).unlink()


def embed_images(task: ModelTask, progress: ProgressCallback) -> None:
    """Write queries.npy and database.npy, float16 (rows, dims), not normalised."""
    started = time.perf_counter()
    network = ImageNetwork(task.training.width, task.ladder[-1], half=half_precision_is_fast())
    network.load_state_dict(torch.load(task.folder / WEIGHTS, weights_only=True))
    with _threads(task.threads):
        for side, name in (("query", "queries.npy"), ("database", "database.npy")):
            if not (task.folder / name).exists():
                pixels, _ = read_side(task.images, side)
                embed(network, pixels, task.folder / name, batch=EMBED_BATCH, progress=progress)
    facts.add(task.folder, seconds={"embed": time.perf_counter() - started})


def half_precision_is_fast() -> bool:
    """Whether this processor multiplies matrices of bfloat16, which is AMX.

    With AVX-512 BF16 alone a step of this network took torch 20 to 25% longer than in float32.
    """
    return "amx_bf16" in cpu_info().get("flags", "").split()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
