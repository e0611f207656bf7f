"""How is a network trained with a Matryoshka loss? One small loop that resumes exactly where it was cut off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from adanns.arrays import checked_count, checked_seed
from adanns.mrl.batches import ArrayBatches
from adanns.mrl.checkpoint import read_checkpoint, refuse_other_settings, write_checkpoint
from adanns.mrl.modes import device_of, training_mode
from adanns.mrl.random_state import borrowed, captured, derived_seed, restore, seed_all
from adanns.mrl.schedule import Schedule, checked_schedule, rate_at
from adanns.progress import Progress, ProgressCallback

MixedPrecision = Literal["bfloat16", "float16"]

GPU_STEPS_BETWEEN_LOOKS = 50  # at losses: each look waits for the GPU


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

    batches: ArrayBatches, or a torch DataLoader of (inputs, *targets) tensors. Where model(inputs) is a tuple, e.g. two
        views, it is handed to the loss as so many arguments.
    learning_rate: the peak; schedule: "one-cycle" (lines up and down) or "cosine"; warmup: the share of steps that the
        rate rises (default 0.3 and 0.05).
    weight_decay: of matrices and convolutions; biases and scales are left alone. clip_norm: the longest gradient.
    mixed_precision: "bfloat16", or on a GPU "float16" with a gradient scaler; None computes in the model's own type.
    device: where to train; model and loss are moved there and stay there. None: where the model is.
    seed: of what model and loss draw (dropout), and of a DataLoader's order. Their initial weights are the caller's.
    checkpoint: a file to save to every `checkpoint_every` steps (default: an epoch) and at the end, and to go on from
        if it is there. The weights are then bit-equal to those of a run that was never cut off, on the same machine
        with the same number of threads, if model and loss keep what matters in their state_dict. A DataLoader is
        replayed up to the step: it has to give the same batches whenever torch, numpy and Python (and its own
        generator, which is seeded too) are seeded alike; with persistent workers that draw random numbers it does not.

    The caller's random generators and the modules' training flags are given back as they were. The number of threads is
    torch's (torch.set_num_threads); GPUs add in another order from run to run unless the caller sets
    torch.use_deterministic_algorithms(True).

    Raises FloatingPointError for a loss that is not finite, naming its step (GPU: found within 50 steps);
    CorruptCheckpointError for a file that is no whole checkpoint; ValueError for a checkpoint of other settings.
    """
    started = time.perf_counter()
    schedule, warmup = checked_schedule(schedule, warmup)
    place = device_of(model) if device is None else torch.device(device)
    steps_per_epoch = _epoch_length(batches)
    steps = checked_count(epochs, "epochs") * steps_per_epoch
    every = steps_per_epoch if checkpoint_every is None else checked_count(checkpoint_every, "checkpoint_every")
    path = None if checkpoint is None else Path(checkpoint)
    _check_rates(learning_rate, weight_decay, clip_norm)
    settings = {
        "steps": steps,
        "steps_per_epoch": steps_per_epoch,
        "batch": getattr(batches, "batch", None) or getattr(batches, "batch_size", None),
        "order_seed": getattr(batches, "seed", None),
        "learning_rate": float(learning_rate),
        "weight_decay": float(weight_decay),
        "schedule": schedule,
        "warmup": warmup,
        "clip_norm": clip_norm,
        "mixed_precision": mixed_precision,
        "seed": checked_seed(seed),
    }
    run = _Run(model.to(place), loss.to(place), place, _checked_precision(mixed_precision, place), steps, settings)
    first = run.load(path) if path is not None and path.exists() else 0
    shown = Progress(progress)
    try:
        with borrowed(place), training_mode(model, loss):
            step = first
            for epoch in range(first // steps_per_epoch, epochs):
                for batch in run.epoch(batches, epoch, step - epoch * steps_per_epoch):
                    rate = learning_rate * rate_at(step, steps, schedule, warmup)
                    run.step(step, batch, rate, clip_norm)
                    step += 1
                    if path is not None and (step % every == 0 or step == steps):
                        run.save(path, step)
                    shown.step("training", step, steps)
            run.check_losses(step)
    finally:
        shown.close()
    return TrainingReport(run.losses.cpu().numpy(), steps, first, time.perf_counter() - started)


class _Run:
    """What a step changes, and a checkpoint holds."""

    def __init__(self, model: Any, loss: Any, device: Any, dtype: Any, steps: int, settings: dict[str, Any]) -> None:
        self.model, self.loss, self.device, self.dtype, self.settings = model, loss, device, dtype, settings
        unique = {id(parameter): parameter for module in (model, loss) for parameter in module.parameters()}
        self.parameters = [parameter for parameter in unique.values() if parameter.requires_grad]
        if not self.parameters:
            raise ValueError("nothing to train: no parameter of model or loss requires a gradient")
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in self.parameters if parameter.ndim > 1]},
            {"params": [parameter for parameter in self.parameters if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], weight_decay=settings["weight_decay"], fused=True
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.losses = torch.zeros(steps, device=device)
        self.checked = 0
        self.random: dict[str, Any] | None = None

    def epoch(self, batches: Any, number: int, first: int) -> Iterator[Any]:
        """The batches of an epoch from `first` on, the generators as they were there."""
        seed_all(derived_seed(self.settings["seed"], number), self.device)
        if isinstance(batches, ArrayBatches):
            source = batches.epoch(number, first)
        else:
            source = _loader_epoch(batches, number, first, derived_seed(self.settings["seed"], number))
        if first and self.random is not None:
            restore(self.random, self.device)
        count = first
        for batch in source:
            count += 1
            yield batch
        if count != len(batches):
            raise ValueError(f"epoch {number} gave {count} batches; len(batches) is {len(batches)}")

    def step(self, step: int, batch: Any, rate: float, clip_norm: float | None) -> None:
        """One batch forward, back, and into the weights."""
        inputs, *targets = (part.to(self.device, non_blocking=True) for part in batch)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            outputs = self.model(inputs)
            value = self.loss(*(outputs if isinstance(outputs, tuple) else (outputs,)), *targets)
        self.losses[step] = value.detach()
        if self.device.type == "cpu" or step % GPU_STEPS_BETWEEN_LOOKS == 0:
            self.check_losses(step + 1)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()
        if clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def check_losses(self, end: int) -> None:
        """FloatingPointError that names the first step whose loss is not finite."""
        wrong = (~torch.isfinite(self.losses[self.checked : end])).nonzero()
        if len(wrong):
            step = self.checked + int(wrong[0])
            raise FloatingPointError(
                f"the loss at step {step} is {float(self.losses[step])}; "
                f"lower learning_rate, set clip_norm, or look for bad values in the inputs"
            )
        self.checked = end

    def save(self, path: Path, step: int) -> None:
        """Write all of it."""
        self.check_losses(step)
        content = {
            "settings": self.settings,
            "step": step,
            "losses": self.losses,
            "model": self.model.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": captured(self.device),
        }
        write_checkpoint(path, content)

    def load(self, path: Path) -> int:
        """Take over what `path` holds; the step to go on with."""
        content = read_checkpoint(path)
        refuse_other_settings(path, content["settings"], self.settings)
        for name, module in (("model", self.model), ("loss", self.loss)):
            refuse_other_settings(path, _shapes(name, content[name]), _shapes(name, module.state_dict()))
            module.load_state_dict(content[name])
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        self.losses.copy_(content["losses"])
        self.random = content["random"]
        self.checked = int(content["step"])
        return self.checked


def _loader_epoch(loader: Any, number: int, first: int, seed: int) -> Iterator[Any]:
    """A DataLoader's epoch; it draws its order from the generators that were just seeded."""
    if getattr(loader, "generator", None) is not None:
        loader.generator.manual_seed(seed)
    if hasattr(getattr(loader, "sampler", None), "set_epoch"):
        loader.sampler.set_epoch(number)
    source: Iterator[Any] = iter(loader)
    for _ in range(first):
        next(source)
    return source


def _epoch_length(batches: Any) -> int:
    try:
        length = len(batches)
    except TypeError:
        raise TypeError(
            f"batches are a {type(batches).__name__} without a length; expected ArrayBatches or a DataLoader over a "
            f"data set that has one"
        ) from None
    if length < 1:
        raise ValueError("batches are empty")
    return length


def _check_rates(learning_rate: float, weight_decay: float, clip_norm: float | None) -> None:
    if not learning_rate > 0:
        raise ValueError(f"learning_rate={learning_rate}; expected a number above 0")
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay={weight_decay}; expected a number from 0 on")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm={clip_norm}; expected a number above 0, or None")


def _checked_precision(mixed_precision: object, device: Any) -> Any:
    """The torch dtype of autocast, or None."""
    if mixed_precision not in (None, "bfloat16", "float16"):
        raise ValueError(f"mixed_precision is {mixed_precision!r}; choose 'bfloat16', 'float16' or None")
    if mixed_precision == "float16" and device.type == "cpu":
        raise ValueError("mixed_precision='float16' needs a GPU; a CPU takes 'bfloat16' or None")
    return None if mixed_precision is None else getattr(torch, str(mixed_precision))


def _shapes(name: str, state: Any) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{key}": tuple(value.shape) for key, value in state.items() if isinstance(value, torch.Tensor)}
