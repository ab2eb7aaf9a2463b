"""The few-shot draws: which training and validation images a method may use."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.labels import NO_CLASS, has_class

VALIDATION_SHOTS = 4  # CoOp's protocol: min(shots, 4) validation images per class


class NoDraw(OodgridError):
    """The data hold no draw of that many shots: a reason to skip, not to fail."""


@dataclass(frozen=True)
class Draw:
    """Rows of the train and val splits that one (shots, seed) may use.

    Attributes:
        train: Shape (M,), row numbers into the train split.
        val: Shape (V,), row numbers into the val split; empty where there is none.
        val_from_train: Whether `val` are rows of the train split instead, none of them in `train`.
    """

    train: np.ndarray
    val: np.ndarray
    val_from_train: bool = False

    @property
    def of_train(self) -> np.ndarray:
        """All rows of the train split that it takes."""
        return np.concatenate([self.train, self.val]) if self.val_from_train else self.train


def draw(
    train_labels: np.ndarray,
    val_labels: np.ndarray | None,
    shots: int,
    seed: int,
    fixed: np.ndarray | None = None,
    broken: Collection[int] = (),
) -> Draw:
    """Draw `shots` training and min(shots, 4) validation images of every class.

    The order of the random calls is that of CoOp (Dassl's `generate_fewshot_dataset`): one stream of Python's
    `random`, classes in the order in which they first appear, first train and then val; a class with fewer
    images gives all it has. Draws of different shots are not nested. What has no class, label -1, is never drawn.

    Where there is no val split, as for ImageNet, whose val is its test set, the validation images are drawn from what
    the shots leave of the train split, after them in the same stream.

    A draw that takes an image which cannot be read is made again without it, and without no other: so it stays as it
    is, whatever other draws take, and where it takes none it is that of the whole split.

    Args:
        train_labels: Shape (N,).
        val_labels: Shape (V,), or None where there is no val split.
        shots: Images per class, at least 1.
        seed: Seed of the stream.
        fixed: Shape (N,), for imported caches whose draws were made elsewhere: the shots of the draw to which
            each training row belongs. Then the seed decides the val rows only.
        broken: Rows of the train split whose images cannot be read.

    Raises:
        NoDraw: `fixed` holds no draw of that many shots, or no training sample has a class.
    """
    if shots < 1:
        raise OodgridError(f"shots must be at least 1, not {shots}: zero_shot is the method without shots")
    drawn = _draw(train_labels, val_labels, shots, seed, fixed)
    while len(unusable := np.intersect1d(drawn.of_train, np.asarray([*broken], dtype=np.int64))):
        train_labels = np.where(np.isin(np.arange(len(train_labels)), unusable), NO_CLASS, train_labels)
        drawn = _draw(train_labels, val_labels, shots, seed, fixed)
    return drawn


def _draw(
    train_labels: np.ndarray, val_labels: np.ndarray | None, shots: int, seed: int, fixed: np.ndarray | None
) -> Draw:
    stream = random.Random(seed)
    if fixed is None:
        train = _sample(train_labels, shots, stream)
    else:
        train = np.flatnonzero((fixed == shots) & has_class(train_labels))
        if not len(train):
            imported = ", ".join(str(k) for k in sorted(set(fixed.tolist())))
            raise NoDraw(
                f"the imported training features hold no draw of {counted(shots, 'shot')} (they hold: {imported})"
            )
    if not len(train):
        raise NoDraw("no training sample has a class: all labels are -1")
    count = min(shots, VALIDATION_SHOTS)
    if val_labels is not None:
        return Draw(train, _sample(val_labels, count, stream))
    if fixed is not None:  # draws that an import brought are all there is
        return Draw(train, np.empty(0, dtype=np.int64))
    rest = np.setdiff1d(np.arange(len(train_labels)), train)
    return Draw(train, rest[_sample(train_labels[rest], count, stream)], val_from_train=True)


def drawn_rows(
    train_labels: np.ndarray,
    val_labels: np.ndarray | None,
    shots: Sequence[int],
    seeds: Sequence[int],
    broken: Collection[int] = (),
) -> np.ndarray:
    """Return every row of the train split that some draw takes, for training or validation, rising.

    Raises:
        NoDraw: No training sample has a class.
    """
    draws = (draw(train_labels, val_labels, count, seed, broken=broken) for count in shots for seed in seeds)
    return np.unique(np.concatenate([each.of_train for each in draws]))


def _sample(labels: np.ndarray, shots: int, stream: random.Random) -> np.ndarray:
    """Return row numbers of `shots` samples of every class, classes in the order of first appearance as in Dassl."""
    classes = list(dict.fromkeys(labels[has_class(labels)].tolist()))
    order = np.argsort(labels, kind="stable")  # by class, each class's rows rising
    starts, stops = (np.searchsorted(labels[order], classes, side) for side in ("left", "right"))
    rows: list[int] = []
    for start, stop in zip(starts, stops, strict=True):
        members = order[start:stop].tolist()
        rows += stream.sample(members, shots) if len(members) >= shots else members
    return np.asarray(rows, dtype=np.int64)
