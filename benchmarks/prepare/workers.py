"""How do a few processes share tasks: many small ones in order, or a few long ones side by side?"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from adanns.progress import ProgressCallback

Task = TypeVar("Task")
Result = TypeVar("Result")

STEPS = 10_000  # that progress of long tasks is counted in
LOOK_SECONDS = 0.2  # between looks at a process


def mapped(
    function: Callable[[Task], Result], tasks: Sequence[Task], workers: int, *, chunk: int = 8
) -> Iterator[Result]:
    """Results in the order of the tasks, sent `chunk` at once; made in this process if there is one worker."""
    if workers == 1:
        yield from map(function, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(function, tasks, chunksize=chunk)


def apart(function: Callable[[Task, ProgressCallback], None], task: Task, progress: ProgressCallback) -> None:
    """Run function(task, progress) in a process of its own and wait. RuntimeError if that process fails."""
    context = multiprocessing.get_context("spawn")
    share = context.Value("d", 0.0)
    process = context.Process(target=_run, args=(function, task, share), daemon=True)
    process.start()
    try:
        while process.is_alive():
            process.join(LOOK_SECONDS)
            progress("", int(STEPS * share.value), STEPS)
    finally:
        process.terminate()
        process.join()
    if process.exitcode != 0:
        raise RuntimeError(
            f"a process ended with exit code {process.exitcode}, its error is above; what is finished was kept, so run "
            "the same command again"
        )


def _run(function: Callable[[Any, ProgressCallback], None], task: Any, share: Any) -> None:
    parent = multiprocessing.parent_process()

    def step(_: str, done: int, total: int) -> None:
        share.value = done / total
        if parent is not None and not parent.is_alive():  # it was killed; who starts anew needs the core and the files
            sys.exit(1)

    function(task, step)


def in_threads(calls: Sequence[Callable[[], None]], workers: int) -> None:
    """Make the calls, `workers` at once; after an error no further one is begun."""
    if workers == 1:
        for call in calls:
            call()
        return
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def parts_of(progress: ProgressCallback, what: str, parts: int) -> list[ProgressCallback]:
    """One progress callback for each of `parts` equal parts of a whole; they may be called from different threads."""
    shares = [0.0] * parts
    lock = threading.Lock()

    def part(number: int) -> ProgressCallback:
        def step(_: str, done: int, total: int) -> None:
            with lock:
                shares[number] = done / total
                progress(what, int(STEPS * sum(shares)), STEPS * parts)

        return step

    return [part(number) for number in range(parts)]
