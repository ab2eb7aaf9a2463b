"""Choosing hyper-parameters on validation: grids that are refined, grids that grow, and what is said of their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

REFINED = 7  # values between the neighbours of the best of a grid, which is the one in the middle


def scale(low: float, high: float, steps: int) -> np.ndarray:
    """Return values from `low` to `high` at equal ratios, shape (steps,); one value where the two are equal."""
    return np.geomspace(low, high, steps) if high > low else np.array([high])


def around(grid: np.ndarray, value: float) -> np.ndarray:
    """Return values at equal ratios between the neighbours that a value of a grid has there, ends included."""
    at = int(np.argmin(np.abs(grid - value)))
    return scale(grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)], REFINED)


def best_until_inside(
    accuracy_of: Callable[[float], float], start: Sequence[float], factor: float, limits: tuple[float, float]
) -> tuple[float, float]:
    """Return the value of the highest accuracy, and that, of a grid that grows while its best lies on an end.

    Of equals it is the smallest value of the grid it started with, so that growing changes nothing but what it betters.

    Args:
        accuracy_of: Of a value; called once for each, in rising order for `start`.
        start: The grid, rising.
        factor: Between a value and the next one outside.
        limits: Beyond which it does not grow.
    """
    reached = {value: accuracy_of(value) for value in start}
    best = max(reached, key=reached.get)  # the first of equals
    while True:
        outside = best * factor if best == max(reached) else best / factor if best == min(reached) else None
        if outside is None or not limits[0] <= outside <= limits[1]:
            return best, reached[best]
        reached[outside] = accuracy_of(outside)
        best = outside if reached[outside] > reached[best] else best


def end_remarks(name: str, value: float, low: float, high: float) -> list[str]:
    """Return what tables must say of a chosen value that is an end of what was searched; nothing of one inside."""
    for which, end in (("lower", low), ("upper", high)):
        if np.isclose(value, end):
            return [f"{name} is at the {which} end of its search, {end:g}"]
    return []


def epoch_remarks(chosen: int, epochs: int, reached: Sequence[float]) -> list[str]:
    """Return what tables must say of an epoch that was chosen because it reached most on validation.

    Args:
        chosen: Its number, from 1; 0 is before training.
        epochs: How many were trained.
        reached: The accuracies of all, to the last; nothing was chosen where there are none.
    """
    if not reached or (chosen == epochs and max(reached[:-1], default=-1) >= reached[-1]):
        return []  # of equals the last was taken, and earlier ones are as good
    ends = {0: "no epoch was better on validation than none", epochs: f"the last of {epochs} epochs was the best"}
    return [ends[chosen]] if chosen in ends else []
