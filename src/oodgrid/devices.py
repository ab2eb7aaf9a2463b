"""Which device a job computes on: of several GPUs on a machine, each goes to one job."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from oodgrid.errors import OodgridError, is_full_gpu
from oodgrid.services import without

_held: list[BinaryIO] = []  # open lock files: the system releases the locks when the process ends, however it ends


@cache
def device() -> str:
    """Return "cpu", or the first GPU that no other job on this machine holds, as "cuda:1"."""
    import torch

    return pick(visible_gpus(torch.cuda.device_count()), Path(tempfile.gettempdir()))


def gpu(key: str) -> str:
    """Return the GPU of the job, as "cuda:1".

    Args:
        key: What in the configuration asks for one, for messages.

    Raises:
        OodgridError: torch is not installed, or finds no GPU.
    """
    mend = f"take {key} out of the configuration to compute on CPUs"
    try:
        name = device()
    except ImportError as error:
        raise OodgridError(f"{key} needs torch: pip install 'oodgrid[encode]', or {mend}") from error
    if name == "cpu":
        raise OodgridError(f"{key}, and torch finds no GPU on this machine: oodgrid doctor says more, or {mend}")
    return name


def described(device: str) -> str:
    """Return what a device is: the name of the card, and the release of torch."""
    import torch

    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return f"{card}, torch {torch.__version__}"


def upload(values: Any, device: str, precision: str = "float64") -> Any:
    """Return a copy of an array of numbers on a device, a tensor of a precision."""
    import torch

    return torch.tensor(values, dtype=getattr(torch, precision), device=device)


def free_bytes(device: str) -> float:
    """Return the memory of a GPU that this process may still take; of a CPU infinity."""
    import torch

    if not device.startswith("cuda"):
        return float("inf")
    in_reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, and unused
    return torch.cuda.mem_get_info(device)[0] + in_reserve


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Have products and convolutions of float32 on a GPU round their factors to 10 bits, or not.

    fp32 is to mean it: torch allows TF32 to convolutions, as of patches, if nobody says otherwise.
    """
    import torch

    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = allowed
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.allow_tf32 = value


@contextmanager
def enough_memory(device: str) -> Iterator[None]:
    """Say in one line that a device has too little memory for what is done within.

    Raises:
        OodgridError: It has.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_full_gpu(error):
            raise
        raise OodgridError(
            f"the memory of {device} is too small for these scores, or another process has it: score_precision: float32"
            " halves what banks and texts take there; without score_device: gpu scores are computed on CPUs"
        ) from error


def visible_gpus(count: int) -> list[str]:
    """Return the machine's names of the GPUs that the process may see, in torch's order."""
    names = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (names or [str(number) for number in range(count)])[:count]


def pick(gpus: list[str], folder: Path) -> str:
    """Return a device, and hold its lock file in `folder`; where all are taken, one that another job uses too."""
    if not gpus:
        return "cpu"
    for number, name in enumerate(gpus):
        if _lock(folder / f"oodgrid-gpu-{name}.lock"):
            return f"cuda:{number}"
    return f"cuda:{os.getpid() % len(gpus)}"


def _lock(path: Path) -> bool:
    """Hold the lock of a file that all users of the machine share, or of one per user where that cannot be opened."""
    import fcntl

    file = _open(path) or _open(path.with_name(f"{path.stem}-{os.getuid()}.lock"))
    if file is None:  # no folder that can be written
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


def _open(path: Path) -> BinaryIO | None:
    """Open a file for a lock, for reading: another user's file in /tmp allows no more, and a lock needs no more."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe or link of that name must not block us
    for create in (0, os.O_CREAT):
        with suppress(OSError):
            number = os.open(path, flags | create, 0o644)
            if stat.S_ISREG(os.fstat(number).st_mode):
                if create:
                    # Others must be able to read it, whatever the umask; if that is refused, they use one per user.
                    with suppress(OSError):
                        os.fchmod(number, 0o644)
                return os.fdopen(number, "rb")
            os.close(number)
    return None
