"""Choosing hyper-parameters on validation: grids that are refined, grids that grow, and remarks on chosen ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from oodgrid.counts import counted

REFINED = 7  # values of a refined grid: the best of the coarse one is its middle, the neighbours are its ends


def scale(low: float, high: float, steps: int) -> np.ndarray:
    """Return values from `low` to `high` at equal ratios, shape (steps,); one value where the two are equal."""
    return np.geomspace(low, high, steps) if high > low else np.array([high])


def around(grid: np.ndarray, value: float) -> np.ndarray:
    """Return a finer grid around a value of a grid: from its left neighbour to its right one, at equal ratios."""
    at = int(np.argmin(np.abs(grid - value)))
    return scale(grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)], REFINED)


def best_until_inside(
    accuracy_of: Callable[[float], float], start: Sequence[float], factor: float, limits: tuple[float, float]
) -> tuple[float, float]:
    """Return the value with the highest accuracy, and that accuracy, on a grid that grows while its best is an end.

    Of values with equal accuracy, the smallest of the first grid is taken; a value outside replaces it if it is better.

    Args:
        accuracy_of: Returns the accuracy of a value; called once for each, in rising order for `start`.
        start: The first grid, rising.
        factor: Ratio between an end and the next value outside.
        limits: The grid stays within these.
    """
    accuracies = {value: accuracy_of(value) for value in start}
    best = max(accuracies, key=lambda value: accuracies[value])  # the first of equals, which is the smallest
    while True:
        # The loop ends because a best value has something outside only while it is an end: once the value outside is
        # tried, either that is the best, or the old best lies inside.
        outside = best * factor if best == max(accuracies) else best / factor if best == min(accuracies) else None
        if outside is None or not limits[0] <= outside <= limits[1]:
            return best, accuracies[best]
        accuracies[outside] = accuracy_of(outside)
        best = outside if accuracies[outside] > accuracies[best] else best


def end_remarks(name: str, value: float, low: float, high: float) -> list[str]:
    """Return the remark for tables that a chosen value is an end of its search range; none on one inside."""
    for which, end in (("lower", low), ("upper", high)):
        if np.isclose(value, end):
            return [f"{name} is at the {which} end of its search, {end:g}"]
    return []


def epoch_remarks(chosen: int, epochs: int, accuracies: Sequence[float]) -> list[str]:
    """Return the remark for tables that the epoch chosen on validation is the first or the last; none on one between.

    Args:
        chosen: The chosen epoch, from 1; 0 is before training.
        epochs: Number of epochs.
        accuracies: Validation accuracies, one per epoch; empty where nothing was chosen.
    """
    # Where the last epoch was taken among equals, earlier ones were as good: longer training would not help.
    if not accuracies or (chosen == epochs and max(accuracies[:-1], default=-1) >= accuracies[-1]):
        return []
    ends = {
        0: "no epoch was better on validation than none",
        epochs: f"the last of {counted(epochs, 'epoch')} was the best",
    }
    return [ends[chosen]] if chosen in ends else []
