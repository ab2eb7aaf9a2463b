"""What is predicted of a pool directly, without other sets: AUROC and both false-positive rates."""

from __future__ import annotations

from math import sqrt

import numpy as np
from scipy.optimize import isotonic_regression

from oodgrid.evaluate.estimate.indicators import Pool
from oodgrid.evaluate.intervals import Z, delong_variance
from oodgrid.evaluate.metrics import Counts, auroc, id_threshold_cell

RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
SMALLEST_SHARE = 1e-3  # an estimate of no OOD samples at all is taken for this
FEWEST_OOD = 0.1  # share of the pool: below it no estimate of ours ranks scores
WIDEST = 0.1  # half of the interval of an AUROC: beyond it an estimate says less than a guess does


def unmixed(counts: Counts, share: float) -> dict[str, float]:
    """Return AUROC and both false-positive rates of the OOD samples in a pool, of which they are a known share.

    What is found of the pool is a mixture: that of validation, which is known, and that of the OOD samples, which is
    left when the first is taken away. Each rate is cut to [0, 1]; that of the OOD convention needs the distribution of
    OOD scores, which is made monotone first (isotonic regression).

    Args:
        counts: Validation as the ID side, the pool as the other.
        share: Of OOD samples in the pool, above 0.
    """
    area = 0.5 + (auroc(counts) - 0.5) / share
    cell = id_threshold_cell(counts)
    let_through = counts.ood_from[cell] / counts.n_ood - (1 - share) * counts.id_from[cell] / counts.n_id
    caught = (counts.ood_up_to / counts.n_ood - (1 - share) * counts.id_up_to / counts.n_id) / share
    rising = isotonic_regression(caught, weights=counts.id_counts + counts.ood_counts).x
    first = min(int(np.searchsorted(rising, 0.95 - 1e-12)), len(rising) - 1)
    rates = (area, let_through / share, counts.id_up_to[first] / counts.n_id)
    return {name: float(min(max(rate, 0.0), 1.0)) for name, rate in zip(RATES, rates, strict=True)}


def pseudo_labelled(counts: Counts) -> dict[str, float]:
    """Return the AUROC of validation against the part of the pool below its 5 % quantile; .5 where that is empty.

    An upper bound by construction, and here for comparison: these samples are the lowest of the pool.
    """
    cell = id_threshold_cell(counts)
    below = Counts(counts.values[:cell], counts.id_counts[:cell], counts.ood_counts[:cell])
    if not cell or not below.ood_counts.sum():
        return {"auroc": 0.5}
    missed = below.id_counts.sum() / counts.n_id
    within = auroc(below) if below.id_counts.sum() else 0.0
    return {"auroc": float(1 - missed + missed * within)}


def standard_error(counts: Counts, share: float) -> float:
    """Return the standard error of the unmixed AUROC, the share taken as known: DeLong's of the mixture, over it."""
    return sqrt(delong_variance(counts)) / share


def sure_area(counts: Counts, shares: tuple[float, float]) -> tuple[float, float]:
    """Return what the AUROC is at the least and at the most, 95 % sure, whatever the OOD samples of the pool are.

    No score shows how many OOD samples score as ID samples do, so that their share is known from below alone. AUROC is
    1/2 + (AUROC(validation, pool) - 1/2) / share, which is lowest where all of the pool is OOD.

    Args:
        counts: As of `unmixed`.
        shares: The least and the largest share of OOD samples that the pool may have, above 0.
    """
    area, chance = auroc(counts) - 0.5, Z * sqrt(delong_variance(counts))
    ends = 0.5 + (area - chance) / shares[1], 0.5 + (area + chance) / shares[0]
    return min(max(ends[0], 0.0), 1.0), min(max(ends[1], 0.0), 1.0)


def silence(pool: Pool, share: float, known: bool = False) -> str | None:
    """Return why nothing can be said of a pool; None where something can.

    Args:
        pool: The pool.
        share: Of OOD samples in it.
        known: Whether the share is known rather than estimated.
    """
    area, error = auroc(pool.counts), sqrt(delong_variance(pool.counts))
    if not np.isfinite(error):
        return "too few samples: two or more are needed on each side"
    for side, scores in (("validation", pool.validation), ("the pool", pool.scores)):
        if scores.min() == scores.max():
            return f"all scores of {side} are equal"
    if area + Z * error < 0.5:
        return (
            "the pool scores higher than the validation samples do: is the sign right (--negate), and are both from "
            "one source?"
        )
    if not known and area - Z * error <= 0.5:
        return (
            "the pool does not score lower than validation beyond chance: it holds no OOD samples, too few of them, or "
            "this score does not see them"
        )
    if known and area - Z * error > 0.5 + share / 2:  # no AUROC is above 1
        least = 100 * (2 * (area - Z * error) - 1)
        return (
            f"{100 * share:.3g} % of OOD samples cannot be: by this score {least:.0f} % or more of the pool are, or "
            "its ID samples do not score as those of validation do"
        )
    if share < FEWEST_OOD:
        of_pool = (
            f"{100 * share:.3g} % of the pool are" if known else f"about {100 * share:.0f} % of the pool seem to be"
        )
        as_given = " as given" if known else ""
        return f"{of_pool} OOD samples{as_given}, and below {100 * FEWEST_OOD:.0f} % nothing can be told from it"
    if Z * error / share > WIDEST:
        return f"± {100 * Z * error / share:.0f} points by chance alone: give more samples of the pool or of validation"
    return None
