"""How is a network trained with a Matryoshka loss? One small loop that resumes exactly where it was cut off."""

from __future__ import annotations

import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from adanns.arrays import checked_count, checked_seed
from adanns.mrl.batches import ArrayBatches
from adanns.mrl.cross_entropy import MatryoshkaCrossEntropy, check_targets
from adanns.mrl.modes import device_of, training_mode
from adanns.mrl.random_state import borrowed
from adanns.mrl.schedule import Schedule, checked_schedule, rate_at
from adanns.mrl.training_state import MixedPrecision, TrainingState, checked_precision
from adanns.progress import Progress, ProgressCallback


@dataclass(frozen=True)
class TrainingReport:
    """What training did.

    losses: float32 (steps,), the loss of every step, those before a resume too.
    steps: of all epochs; resumed_at: the step of the checkpoint it went on from, 0 without one.
    seconds: of this call.
    """

    losses: npt.NDArray[np.float32]
    steps: int
    resumed_at: int
    seconds: float


def train(
    model: Any,
    loss: Any,
    batches: Any,
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float = 0.01,
    schedule: Schedule = "one-cycle",
    warmup: float | None = None,
    clip_norm: float | None = None,
    mixed_precision: MixedPrecision | None = None,
    device: str | None = None,
    seed: int = 0,
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    progress: bool | ProgressCallback | None = None,
) -> TrainingReport:
    """Train the parameters of `model` and of `loss` with AdamW to lessen `loss(model(inputs), *targets)`.

    batches: ArrayBatches, or a torch DataLoader of (inputs, *targets). Where model(inputs) is a tuple, e.g. two views,
        it is handed to the loss as so many arguments.
    learning_rate: the peak; schedule: "one-cycle" (a line up, a line down) or "cosine"; warmup: the share of steps that
        the rate rises (default 0.3 and 0.05).
    weight_decay: of matrices and convolutions; biases and scales are left alone. clip_norm: the longest gradient.
    mixed_precision: "bfloat16", or on a GPU "float16" with a gradient scaler; None computes in the model's own type.
    device: where to train; model and loss are moved there and stay there. None: where the model is.
    seed: of what model and loss draw (dropout), and of a DataLoader's order. Their initial weights are the caller's.
    checkpoint: a file to save to every `checkpoint_every` steps (default: an epoch) and at the end, and to go on from
        if it is there. The weights are then bit-equal to those of a run that was never cut off, on the same machine
        with the same number of threads, if model and loss keep what matters in their state_dict. A DataLoader is
        replayed up to the step: it has to give the same batches whenever torch, numpy and Python, and the generators
        of the loader and its sampler, are seeded alike. Persistent workers that draw random numbers do not.

    The caller's random generators and the modules' training flags are given back as they were. The number of threads is
    torch's (torch.set_num_threads); GPUs add in another order from run to run unless the caller sets
    torch.use_deterministic_algorithms(True).

    Raises FloatingPointError for a loss that is not finite, naming its step (GPU: found within 50 steps);
    CorruptCheckpointError for a file that is no whole checkpoint; ValueError for a checkpoint of other settings.
    """
    started = time.perf_counter()
    if not isinstance(loss, nn.Module):
        raise TypeError(f"loss is a {type(loss).__name__}; expected a module, e.g. MatryoshkaLoss(loss, ladder)")
    place = device_of(model) if device is None else torch.device(device)
    schedule, warmup = checked_schedule(schedule, warmup)
    _check_rates(learning_rate, weight_decay, clip_norm)
    precision = checked_precision(mixed_precision, place)
    path = None if checkpoint is None else _checked_path(checkpoint)
    steps_per_epoch = _checked_length(batches)
    _check_all_targets(loss, batches)
    epochs = checked_count(epochs, "epochs")
    steps = epochs * steps_per_epoch
    every = steps_per_epoch if checkpoint_every is None else checked_count(checkpoint_every, "checkpoint_every")
    settings = {
        "epochs": epochs,
        "batches": steps_per_epoch,
        "batch": getattr(batches, "batch", None) or getattr(batches, "batch_size", None),
        "order_seed": getattr(batches, "seed", None),
        "learning_rate": float(learning_rate),
        "weight_decay": float(weight_decay),
        "schedule": schedule,
        "warmup": warmup,
        "clip_norm": None if clip_norm is None else float(clip_norm),
        "mixed_precision": mixed_precision,
        "seed": checked_seed(seed),
    }
    state = TrainingState(model.to(place), loss.to(place), place, precision, settings)
    first = step = state.load(path) if path is not None and path.exists() else 0
    with Progress(progress) as shown, borrowed(place), training_mode(model, loss):
        for epoch in range(first // steps_per_epoch, epochs):
            for batch in state.epoch(batches, epoch, step - epoch * steps_per_epoch):
                state.step(step, batch, learning_rate * rate_at(step, steps, schedule, warmup))
                step += 1
                if path is not None and (step % every == 0 or step == steps):
                    state.save(path, step)
                shown.step("training", step, steps)
        state.check_losses(step)
    return TrainingReport(state.losses.cpu().numpy(), steps, first, time.perf_counter() - started)


def _checked_length(batches: Any) -> int:
    try:
        length = len(batches)
    except TypeError:
        raise TypeError(
            f"batches are a {type(batches).__name__} without a length; expected ArrayBatches, or a DataLoader over a "
            f"data set that has one"
        ) from None
    if length < 1:
        raise ValueError("batches are empty")
    return length


def _checked_path(checkpoint: str | PathLike[str]) -> Path:
    path = Path(checkpoint)
    if not path.parent.is_dir():  # else found out after an epoch
        raise FileNotFoundError(f"checkpoint={path}: there is no folder {path.parent}")
    return path


def _check_all_targets(loss: Any, batches: Any) -> None:
    """Before any work, and for GPUs, which do not look at each batch."""
    if isinstance(loss, MatryoshkaCrossEntropy) and isinstance(batches, ArrayBatches) and batches.targets is not None:
        targets = torch.from_numpy(batches.targets)
        check_targets(targets, (len(targets),), loss.head.classes, loss.ignore_index)


def _check_rates(learning_rate: float, weight_decay: float, clip_norm: float | None) -> None:
    if not learning_rate > 0:
        raise ValueError(f"learning_rate={learning_rate}; expected a number above 0")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay={weight_decay}; expected a number from 0 on")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm={clip_norm}; expected a number above 0, or None")
