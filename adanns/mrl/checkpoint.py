"""How does training survive a crash? A checksummed file that is whole or not there, and runs no code when read."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

MAGIC = b"adanns checkpoint 1\n"
DIGEST_BYTES = 32


class CorruptCheckpointError(ValueError):
    """A checkpoint is damaged, or is no checkpoint."""


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values so that `path` holds the old content or the new one, never a part of it."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    payload = buffer.getbuffer()
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(MAGIC)
        file.write(_digest(payload))
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What write_checkpoint wrote; CorruptCheckpointError for anything else. Tensors are on the CPU."""
    data = memoryview(path.read_bytes())
    start = len(MAGIC) + DIGEST_BYTES
    if bytes(data[: len(MAGIC)]) != MAGIC:
        raise CorruptCheckpointError(f"{path} is no checkpoint of adanns.mrl.train; choose another path or remove it")
    payload = data[start:]
    # torch's own archive is read without its checksums.
    if _digest(payload) != bytes(data[len(MAGIC) : start]):
        raise CorruptCheckpointError(
            f"{path} is damaged: its {len(payload)} bytes do not match their checksum; remove it to start anew"
        )
    content: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
    return content


def _digest(payload: Any) -> bytes:
    return hashlib.blake2b(payload, digest_size=DIGEST_BYTES).digest()


def refuse_other_settings(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """ValueError that lists what differs between the settings of a checkpoint and those of this run."""
    differences = [
        f"{key}: {saved.get(key)!r} there, {wanted.get(key)!r} here"
        for key in sorted(saved.keys() | wanted.keys())
        if saved.get(key) != wanted.get(key)
    ]
    if differences:
        raise ValueError(
            f"{path} is the checkpoint of another run ({'; '.join(differences)}); "
            f"train with its settings, choose another path, or remove it"
        )
