"""Products of samples with classes, texts or the bank, on the CPU by NumPy, or on the GPU of the job by torch.

Such products take most of the time of scores, and are too large to be copied: 1,024 samples have 131 MB of cosines
with a bank of 16,000. So what a score makes of a product is made where the product is. Scores write that as a function
of blocks of samples, which `by_rows` calls with NumPy's arrays, and `on_device` with torch's tensors where the job
computes on a GPU. Such functions use operators, methods that both have (`sum`, `mean`, `argmin`, `reshape`), and the
functions of this module, which take either. No other module of scores knows which it is.

On a GPU numbers are of the same precision as on the CPU, and differ by rounding, as between two builds of BLAS.
torch itself is imported by `oodgrid.devices`, when a job computes on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np

from oodgrid import devices
from oodgrid.config import Precision
from oodgrid.errors import OodgridError, brief
from oodgrid.score.sharing import shared
from oodgrid.vectors import filled

Block = Any  # np.ndarray, or torch.Tensor on the device of the job
STEP = 1024  # rows of a block on a GPU: as many wherever they fit, since products of other shapes round in another way
STEP_OF_PATCHES = 64  # the same of arrays (N, P, D)
TEMPORARIES = 6  # arrays as large as a product that functions of a block may have at a time
SHARE = 0.5  # of the free memory of a GPU

_TURN = RLock()  # blocks are scored on several threads; on a GPU one after the other, so that one is in its memory
_device: list[str] = []  # of torch, the last one counts; empty where NumPy computes


@contextmanager
def computing_on(device: str | None) -> Iterator[None]:
    """Have products computed by torch on a device, as "cuda:0"; by NumPy for None."""
    if device is None:
        yield
        return
    _device.append(device)
    try:
        yield
    finally:
        _device.pop()


def is_on_device() -> bool:
    """Return whether torch computes products."""
    return bool(_device)


def device() -> str:
    """Return where torch is to compute: on the device of the job, else on the CPU."""
    return _device[-1] if _device else "cpu"


def described_device() -> str:
    """Return the GPU that computes products, and the release of torch; "" on a CPU."""
    return devices.described(_device[-1]) if _device else ""


def product(rows: Block, others: np.ndarray, precision: Precision = "float64") -> Block:
    """Return rows (N, D) times others (M, D), multiplied in a precision, shape (N, M), float64.

    In float32 each number is off by about 1e-7 of the product of both norms. Rows may be (N, P, D). Of an array it is
    an array, wherever it was computed; of a tensor it is a tensor.
    """
    if not isinstance(rows, np.ndarray):
        columns = _resident(others, precision=precision, device=str(rows.device))
        return (rows.type_as(columns) @ columns.T).double()
    if is_on_device():
        width = len(others) * int(np.prod(rows.shape[1:-1]))
        return on_device(lambda block: product(block, others, precision), rows, width=width)
    factors = rows.astype(precision, copy=False), others.astype(precision, copy=False)
    return (factors[0] @ factors[1].T).astype(np.float64, copy=False)


def by_rows(function: Callable[..., np.ndarray], *arrays: np.ndarray, rows: int = 128) -> np.ndarray:
    """Apply a function of arrays (n, …) that returns (n,) to blocks of rows, so that its temporaries stay small.

    Raises:
        OodgridError: One of them is a number: before, that of the rows came third, without its name.
    """
    if numbers := [array for array in arrays if np.ndim(array) == 0]:
        raise OodgridError(f"by_rows takes arrays, and {brief(numbers[0])} is none: write rows={brief(numbers[0])}")
    blocks = range(0, max(len(arrays[0]), 1), rows)
    return np.concatenate([function(*(array[start : start + rows] for array in arrays)) for start in blocks])


def on_device(function: Callable[..., Block], *arrays: np.ndarray, width: int, rows: int = 128) -> np.ndarray:
    """Apply a function of blocks (n, …) that returns (n, …) to blocks of rows, on a GPU where the job computes on one.

    Args:
        function: Of blocks of the arrays, in their order.
        arrays: Of equal length.
        width: Numbers per row in the largest array that the function makes.
        rows: Of a block for NumPy, as in `by_rows`.

    Raises:
        OodgridError: The GPU has too little memory for one row.
    """
    if not is_on_device():
        return by_rows(function, *arrays, rows=rows)
    device, count = _device[-1], len(arrays[0])
    with _TURN, devices.enough_memory(device), devices.tf32(False):
        step = _rows_at_a_time(width, STEP if max(array.ndim for array in arrays) < 3 else STEP_OF_PATCHES, device)
        parts = []
        for start in range(0, max(count, 1), step):
            blocks = [devices.upload(filled(array[start : start + step], step), device) for array in arrays]
            parts.append(function(*blocks).cpu().numpy()[: count - start])
    return np.concatenate(parts)


def _rows_at_a_time(width: int, step: int, device: str) -> int:
    """Return the step, halved as often as is needed for its arrays to fit into the memory that is free."""
    free = SHARE * devices.free_bytes(device)
    while step > 1 and step * width * 8 * TEMPORARIES > free:
        step //= 2
    return step


@shared
def _resident(values: np.ndarray, *, precision: Precision, device: str) -> Block:
    """Return values on a device, where they stay as long as the array is there."""
    return devices.upload(values, device, precision)


def beside(values: np.ndarray, block: Block) -> Block:
    """Return an array that is the same for all blocks, where a block is."""
    on_cpu = isinstance(block, np.ndarray)
    return values if on_cpu else _resident(values, precision="float64", device=str(block.device))


def highest(values: Block) -> Block:
    """Return the largest of the last axis, which stays, with length 1."""
    return values.max(axis=-1, keepdims=True) if isinstance(values, np.ndarray) else values.amax(-1, keepdim=True)


def exp(values: Block) -> Block:
    """Return exponentials, written over the values."""
    return np.exp(values, out=values) if isinstance(values, np.ndarray) else values.exp_()


def largest(values: Block, count: int) -> Block:
    """Return the largest values of each row of (n, M), in any order, shape (n, count); the values may be reordered."""
    if not isinstance(values, np.ndarray):
        return values.topk(count, dim=1).values
    rest = values.shape[1] - count
    values.partition(rest, axis=1)
    return values[:, rest:]


def place_of(values: Block, rank: int) -> Block:
    """Return where the rank-th largest value of each row of (n, M) is, shape (n,); of equal ones the first.

    To part values and look for one beats argpartition.
    """
    kth = values.shape[1] - rank
    if isinstance(values, np.ndarray):
        return (values == np.partition(values, kth, axis=1)[:, kth, None]).argmax(axis=1)
    return (values == values.kthvalue(kth + 1, dim=1, keepdim=True).values).byte().argmax(1)
