"""What changes in a step of training, and so is what a checkpoint holds?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from adanns.mrl.batches import ArrayBatches
from adanns.mrl.checkpoint import read_checkpoint, refuse_other_settings, write_checkpoint
from adanns.mrl.random_state import captured, derived_seed, restore, seed_all

MixedPrecision = Literal["bfloat16", "float16"]

GPU_STEPS_BETWEEN_LOOKS = 50  # at losses: each look waits for the GPU


class TrainingState:
    """Model, loss, optimizer, gradient scaler, random generators and the losses so far.

    device: a torch.device; dtype: that of autocast, or None. settings: those of train(), plain values.
    The learning rate is a function of the step and the order of the rows one of the epoch: neither has a state.
    """

    def __init__(self, model: Any, loss: Any, device: Any, dtype: Any, settings: dict[str, Any]) -> None:
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
        self.losses = torch.zeros(settings["epochs"] * settings["batches"], device=device)
        self.checked = 0  # losses before this step are known to be finite
        self.random: dict[str, Any] | None = None

    def epoch(self, batches: Any, number: int, first: int) -> Iterator[Any]:
        """The batches of an epoch from `first` on, the generators as they were there."""
        seed = derived_seed(self.settings["seed"], number)
        seed_all(seed, self.device)
        source = (
            batches.epoch(number, first)
            if isinstance(batches, ArrayBatches)
            else _loader_epoch(batches, number, first, seed)
        )
        if first and self.random is not None:
            restore(self.random, self.device)
        count = first
        for batch in source:
            count += 1
            yield batch
        if count != len(batches):
            raise ValueError(f"epoch {number} gave {count} batches; len(batches) is {len(batches)}")

    def step(self, step: int, batch: Any, learning_rate: float) -> None:
        """One batch forward, back, and into the weights."""
        inputs, *targets = _moved(batch if isinstance(batch, (tuple, list)) else (batch,), self.device)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            outputs = self.model(inputs)
            value = self.loss(*(outputs if isinstance(outputs, tuple) else (outputs,)), *targets)
        if value.ndim:
            raise ValueError(f"the loss has shape {tuple(value.shape)}; expected a scalar, e.g. its mean")
        self.losses[step] = value.detach()
        if self.device.type == "cpu" or step % GPU_STEPS_BETWEEN_LOOKS == 0:
            self.check_losses(step + 1)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(value).backward()
        if self.settings["clip_norm"] is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, self.settings["clip_norm"])
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
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
        """Write all of it; `step` is the next one."""
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
        parts = (("model", self.model), ("loss", self.loss))
        for name, module in parts:
            refuse_other_settings(path, _shapes(name, content[name]), _shapes(name, module.state_dict()))
        for name, module in parts:
            module.load_state_dict(content[name])
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        self.losses.copy_(content["losses"])
        self.random = content["random"]
        self.checked = int(content["step"])
        return self.checked


def checked_precision(mixed_precision: object, device: Any) -> Any:
    """The torch dtype of autocast, or None."""
    if mixed_precision not in (None, "bfloat16", "float16"):
        raise ValueError(f"mixed_precision is {mixed_precision!r}; choose 'bfloat16', 'float16' or None")
    if mixed_precision == "float16" and device.type == "cpu":
        raise ValueError("mixed_precision='float16' needs a GPU; a CPU takes 'bfloat16' or None")
    return None if mixed_precision is None else getattr(torch, str(mixed_precision))


def _loader_epoch(loader: Any, number: int, first: int, seed: int) -> Iterator[Any]:
    """A DataLoader's epoch from batch `first` on; its order comes from generators that are seeded here or were."""
    sampler: Any = getattr(loader, "sampler", None)
    for owner in (loader, sampler):
        if getattr(owner, "generator", None) is not None:
            owner.generator.manual_seed(seed)
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(number)
    source: Iterator[Any] = iter(loader)
    for _ in range(first):
        next(source)
    return source


def _moved(part: Any, device: Any) -> Any:
    """Tensors, or tuples, lists and dicts of them, on the device."""
    if isinstance(part, dict):
        return {key: _moved(value, device) for key, value in part.items()}
    if isinstance(part, (tuple, list)):
        return [_moved(value, device) for value in part]
    return part.to(device, non_blocking=True)


def _shapes(name: str, state: Any) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{key}": tuple(value.shape) for key, value in state.items() if isinstance(value, torch.Tensor)}
