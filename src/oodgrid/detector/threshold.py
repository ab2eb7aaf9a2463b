"""The threshold of a detector: the highest that keeps the asked share of in-distribution images."""

from __future__ import annotations

import math

import numpy as np

from oodgrid.errors import OodgridError, brief
from oodgrid.manifests import Threshold

KEEP = 0.95  # the share, where nothing else is said
ROUNDING = 1e-9  # .55 · 100 is a little more than 55 in float64


def choose(scores: np.ndarray, keep: float, chosen_on: str) -> Threshold:
    """Return the highest threshold at or above which at least a share of some ID images lies.

    Of all ID images, as these are, the share that it keeps has a Beta distribution whatever the distribution of scores
    (Vovk 2012, Conditional Validity of Inductive Conformal Predictors, section 3): with k of n, Beta(k, n + 1 - k).

    Args:
        scores: Shape (n,), of ID images from which nothing was learned.
        keep: The share, above 0 and at most 1.
        chosen_on: Which images they are, for people.

    Raises:
        OodgridError: The share is none, or there are no images.
    """
    is_number = isinstance(keep, int | float | np.integer | np.floating) and not isinstance(keep, bool)
    if not (is_number and 0 < keep <= 1):
        raise OodgridError(
            f"keep = {brief(keep)} is no share of ID images: give a number above 0 and at most 1, as 0.95"
        )
    if not len(scores):
        raise OodgridError("no ID images to choose the threshold on: give the ID dataset a val split")
    from scipy.stats import beta

    count = len(scores)
    kept = max(1, math.ceil(keep * count - ROUNDING))
    value = float(np.sort(scores)[count - kept])
    low, high = beta.ppf([0.025, 0.975], kept, count + 1 - kept).tolist()
    return Threshold(
        value=value, keep=float(keep), kept=float(np.mean(scores >= value)), expected=(low, high), images=count,
        chosen_on=chosen_on,
    )  # fmt: skip
