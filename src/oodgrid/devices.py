"""Which device a job computes on: with several GPUs on a machine, one job each."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import BinaryIO

from oodgrid.services import without

_held: list[BinaryIO] = []  # locks live as long as the process, and die with it however it ends


@cache
def device() -> str:
    """Return "cpu", or the first GPU that no other job of this machine holds, as "cuda:1"."""
    import torch

    return pick(visible_gpus(torch.cuda.device_count()), Path(tempfile.gettempdir()))


def visible_gpus(count: int) -> list[str]:
    """Return the names under which this machine knows the GPUs that the process may see, in torch's order."""
    given = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (given or [str(number) for number in range(count)])[:count]


def pick(gpus: list[str], folder: Path) -> str:
    """Return a device of which this process now holds the lock file in `folder`.

    Where all are taken, jobs share: better slow than none.
    """
    if not gpus:
        return "cpu"
    for number, name in enumerate(gpus):
        if _lock(folder / f"oodgrid-gpu-{name}.lock"):
            return f"cuda:{number}"
    return f"cuda:{os.getpid() % len(gpus)}"


def _lock(path: Path) -> bool:
    import fcntl

    try:
        file = path.open("ab")
    except OSError:  # another user's file: ask no further
        return False
    try:
        locked = without("locks", path.parent, lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except OSError:  # another job has it
        locked = False
    if locked:
        _held.append(file)
    else:
        file.close()
    return locked
