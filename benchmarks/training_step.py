"""What does the Matryoshka loss add to a step of training, beside the rigid loss on the same network?"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from adanns import default_ladder
from adanns.mrl import MatryoshkaCrossEntropy, MatryoshkaHead, MatryoshkaLoss
from benchmarks import machine, results
from benchmarks.prepare.image_network import ImageNetwork
from benchmarks.table import aligned, number

PIXELS = 32
RIGID = "rigid"

Loss: TypeAlias = tuple[Any, Callable[[Any, Any], Any]]  # the module of its parameters, and loss(embeddings, targets)


@dataclass(frozen=True)
class StepTime:
    """One loss on a network of one width.

    milliseconds: of a whole step, median over the rounds. ratio: to the rigid step of the same round, median.
    """

    width: int
    loss: str
    milliseconds: float
    ratio: float


def rigid_loss(dims: int, classes: int) -> Loss:
    """What everyone trains with: one linear classifier over all dims, and torch's cross-entropy."""
    head = nn.Linear(dims, classes)
    return head, lambda embeddings, targets: functional.cross_entropy(head(embeddings), targets)


def looped_loss(ladder: tuple[int, ...], classes: int) -> Loss:
    """MRL as its equation reads: a linear classifier and a cross-entropy for every rung."""
    heads = nn.ModuleDict({str(dims): nn.Linear(dims, classes) for dims in ladder})

    def prefix_loss(prefix: Any, targets: Any) -> Any:
        return functional.cross_entropy(heads[str(prefix.shape[1])](prefix), targets)

    return heads, MatryoshkaLoss(prefix_loss, ladder)


def matryoshka_loss(ladder: tuple[int, ...], classes: int, tied: bool) -> Loss:
    """Ours."""
    loss = MatryoshkaCrossEntropy(MatryoshkaHead(ladder, classes, tied=tied))
    return loss, loss


def run(options: argparse.Namespace) -> int:
    """Measure, print, write results.json; options as parsed by benchmarks.__main__."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    ladder = default_ladder(options.dims)
    losses: dict[str, Callable[[], Loss]] = {
        RIGID: lambda: rigid_loss(options.dims, options.classes),
        "MRL": lambda: matryoshka_loss(ladder, options.classes, tied=False),
        "MRL-E": lambda: matryoshka_loss(ladder, options.classes, tied=True),
        "MRL, plain loop": lambda: looped_loss(ladder, options.classes),
    }
    with machine.OtherLoad() as other_load:
        times = [row for width in options.widths for row in _step_times(width, losses, options)]
    lines = [["first layer's channels", "loss", "ms a step", "to rigid"]]
    lines += [[str(row.width), row.loss, number(row.milliseconds), f"{row.ratio:.3f}"] for row in times]
    print(aligned(lines))
    content = {
        **results.heading(
            "training-step",
            environment=options.environment,
            other_load_cores=other_load.cores,
            torch=torch.__version__,
        ),
        "options": {key: getattr(options, key) for key in ("threads", "rounds", "seed", "batch", "dims", "classes")}
        | {"ladder": ladder, "precision": "float32"},
        "network": f"benchmarks.prepare.image_network.ImageNetwork, {PIXELS} x {PIXELS} pixels, AdamW",
        "steps": [asdict(row) for row in times],
    }
    folder = options.output or machine.results_folder("training-step")
    folder.mkdir(parents=True, exist_ok=True)
    results.write_content(content, folder / "results.json")
    print(f"\nWritten:\n  {folder / 'results.json'}")
    return 0


def _step_times(width: int, losses: dict[str, Callable[[], Loss]], options: argparse.Namespace) -> list[StepTime]:
    """One row a loss; each round takes a step with every loss, beginning with another one each time."""
    images = torch.randint(0, 256, (options.batch, PIXELS, PIXELS), dtype=torch.uint8)
    targets = torch.randint(0, options.classes, (options.batch,))
    steps = {name: _step(ImageNetwork(width, options.dims), *make(), images, targets) for name, make in losses.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    names = list(steps)
    for turn in range(options.rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            steps[name]()
            seconds[name].append(time.perf_counter() - started)
    return [
        StepTime(
            width,
            name,
            1000 * median(taken),
            median(ours / rigid for ours, rigid in zip(taken, seconds[RIGID], strict=True)),
        )
        for name, taken in seconds.items()
    ]


def _step(network: Any, head: Any, loss: Callable[[Any, Any], Any], images: Any, targets: Any) -> Callable[[], None]:
    """A whole step of training: forward, loss, backward, optimizer."""
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], fused=True)

    def step() -> None:
        value = loss(network(images), targets)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step
