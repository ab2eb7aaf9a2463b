"""Labels: the index of a class, or -1 where a sample has none; and how names of classes are compared."""

from __future__ import annotations

import numpy as np

from oodgrid.counts import counted
from oodgrid.errors import OodgridError

NO_CLASS = -1
JOINED = " and "  # between a class and another text, in texts of both


def has_class(labels: np.ndarray) -> np.ndarray:
    """Return which samples have a class, shape (N,), bool, of labels (N,)."""
    return labels != NO_CLASS


def plain_name(name: str) -> str:
    """Return the name of a class as it is compared with others: in lower case, with blanks for underscores."""
    return name.lower().replace("_", " ").strip()


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the share of the samples with a class, of labels (N,), that are predicted right; None without any."""
    known = has_class(labels)
    return float(np.mean(predicted[known] == labels[known])) if known.any() else None


def check_classes(labels: np.ndarray, classes: int, where: object) -> None:
    """Refuse labels, shape (N,), that are neither -1 nor the index of one of the classes.

    Raises:
        OodgridError: One is not, naming the place, the first row and how many there are.
    """
    wrong = np.flatnonzero(has_class(labels) & ((labels < 0) | (labels >= classes)))
    if len(wrong):
        raise OodgridError(
            f"{where}: row {wrong[0]} has label {labels[wrong[0]]}, which is none of the "
            f"{counted(classes, 'class', 'classes')} 0 to "
            f"{classes - 1}, nor -1 for no class ({counted(len(wrong), 'row')} in all): mend the labels or the "
            "class list, and "
            "make the file again"
        )
