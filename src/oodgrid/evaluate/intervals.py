"""95 % confidence intervals of the detection metrics, in about a millisecond from sorted counts.

AUROC has DeLong's variance on the logit scale, and Newcombe's score interval where few samples are misplaced. Both
false-positive rates have draws of the threshold, and given the threshold Jeffreys' draw of the rate. Simulated coverage
is in docs/conventions.md.

The threshold of a bootstrap repeat (ID and OOD are resampled separately) is drawn exactly in distribution but without
drawing N samples for each repeat:

Resampling n values with replacement is the same as drawing n uniforms and letting each pick the sorted value
into whose share of [0, 1] it falls. A threshold at a fixed recall is then one order statistic of the
uniforms, and the k-th smallest of n uniforms follows Beta(k, n - k + 1). Given its place w, the k - 1 lower
ones are independent and uniform on (0, w) and the n - k higher ones on (w, 1), so how many of them share the
cell (s, e] of the picked value is binomial: (w - s) / w below, (e - w) / (1 - w) above.

Degenerate inputs stay inside [0, 1] and never divide by zero: sets that are wholly apart, equal scores and single
samples have intervals of a width that the number of samples justifies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import exp, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodgrid.edge import whole_number
from oodgrid.errors import OodgridError, brief
from oodgrid.evaluate.metrics import (
    RATES,
    RECALL,
    Counts,
    auroc,
    count_scores,
    fpr_id_pos,
    fpr_ood_pos,
    metrics_from_counts,
)
from oodgrid.measures import exact_recall, fpr_names

TAILS = (0.025, 0.975)
Z = NormalDist().inv_cdf(TAILS[1])
FEW = 3  # misplaced samples, below which DeLong's variance is not trusted alone
FEW_FOR_BOOTSTRAP = 200  # samples on the side of the threshold
MOST_LOGIT = 700.0  # beyond it a logit is 0 or 1 in float64
BOUNDED = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
COLUMNS = tuple(
    f"{name}{end}" for name in RATES for end in (("", "_lo", "_hi") if name in BOUNDED else ("",))
)  # of metrics.parquet: each rate, and the ends of its interval where it has one


def delong_variance(counts: Counts) -> float:
    """Return the variance of the AUROC by DeLong et al. (1988), infinite with one sample on a side.

    The structural components are the mid-ranks of Sun & Xu (2014), which sorted counts give as
    running sums: for an ID value the share of OOD below it, for an OOD value the share of ID above it, ties
    half.
    """
    if min(counts.n_id, counts.n_ood) < 2:
        return float("inf")
    area = auroc(counts)
    ood_below = (counts.ood_up_to - counts.ood_counts / 2) / counts.n_ood
    id_above = (counts.id_from - counts.id_counts / 2) / counts.n_id
    id_part = np.sum(counts.id_counts * (ood_below - area) ** 2) / (counts.n_id - 1)
    ood_part = np.sum(counts.ood_counts * (id_above - area) ** 2) / (counts.n_ood - 1)
    return float(id_part / counts.n_id + ood_part / counts.n_ood)


def auroc_interval(counts: Counts) -> tuple[float, float]:
    """Return the 95 % interval of the AUROC: DeLong's on the logit scale, and Newcombe's where that degenerates.

    With few errors DeLong's variance is far too small, and with none it is zero. Where fewer than three samples of the
    smaller side are misplaced (min(n, m) * min(A, 1 - A) < 3) the interval reaches to the outermost ends of both.
    """
    area, variance = auroc(counts), delong_variance(counts)
    return auroc_ends(area, variance, counts.n_id, counts.n_ood)


def auroc_ends(
    area: float, variance: float, n_id: float, n_ood: float, quantile: float = Z, extra: float = 0.0
) -> tuple[float, float]:
    """Return the ends of the interval of an AUROC, or of a mean of several.

    Args:
        area: The AUROC A.
        variance: Of the samples, by DeLong; 0 or infinite where it cannot be told.
        n_id: ID samples.
        n_ood: OOD samples.
        quantile: Of the normal or of Student's distribution.
        extra: Variance that is not of the samples, as that of fits.
    """
    ends = []
    if 0 < variance < np.inf and 0 < area < 1:
        ends.append(logit_ends(area, variance + extra, quantile))
    if not ends or min(n_id, n_ood) * min(area, 1 - area) < FEW:
        ends.append(newcombe_ends(area, n_id, n_ood, quantile, extra))
    return min(lo for lo, _ in ends), max(hi for _, hi in ends)


def logit_ends(share: float, variance: float, quantile: float = Z) -> tuple[float, float]:
    """Return the interval of a share inside (0, 1) that is symmetric on the logit scale (delta method)."""
    middle, half = log(share / (1 - share)), min(quantile * sqrt(variance) / (share * (1 - share)), MOST_LOGIT)
    return 1 / (1 + exp(half - middle)), 1 / (1 + exp(-half - middle))


def newcombe_ends(
    area: float, n_id: float, n_ood: float, quantile: float = Z, extra: float = 0.0
) -> tuple[float, float]:
    """Return the score interval of an AUROC by Newcombe (2006, method 5): every area that the sample does not reject.

    The variance is that of exponential scores at the area that is tested (Hanley & McNeil 1982), each side's size
    replaced by their mean, so that it is positive where the sample shows no error at all.
    """
    from scipy.optimize import brentq  # late: it takes longer to import than a pair of sets to measure

    many = (n_id + n_ood) / 2 - 1

    def excess(theta: float) -> float:
        shape = 1 + many * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (area - theta) ** 2 - quantile**2 * (theta * (1 - theta) * shape / (n_id * n_ood) + extra)

    below, above = max(area - 1e-12, 0.0), min(area + 1e-12, 1.0)  # an area of 0 or 1 is a root itself
    lo = brentq(excess, 0.0, below, xtol=1e-14) if excess(0.0) > 0 > excess(below) else 0.0
    hi = brentq(excess, above, 1.0, xtol=1e-14) if excess(1.0) > 0 > excess(above) else 1.0
    return lo, hi


def bootstrap_id_pos(
    counts: Counts, repeats: int, rng: np.random.Generator, recall: Fraction = RECALL
) -> NDArray[np.int64]:
    """Draw how many OOD samples lie at or above the threshold of a resampled ID set, shape (repeats,).

    Seen from the highest score down, with k = ceil(recall * n), the k-th ID sample lies in the first value whose
    recall reaches the one asked: `reached` samples are at or above it, `missed` strictly above. The nearest recall is
    one of these two (ties: the higher, `reached`). Where it is `missed`, the threshold is the last value
    before, that of the largest of `missed` uniforms on (0, s): s * V ** (1 / missed) with V uniform.
    """
    n, target, parts = counts.n_id, recall.numerator * counts.n_id, recall.denominator
    k = _ceil(recall, n)
    ends = counts.id_from[::-1]
    starts = ends - counts.id_counts[::-1]
    place = _order_statistic(k, n, repeats, rng)
    cell = np.searchsorted(ends, place * n)
    start, end = starts[cell] / n, ends[cell] / n
    reached = k + rng.binomial(n - k, np.clip((end - place) / (1 - place), 0, 1))
    missed = k - 1 - rng.binomial(k - 1, np.clip((place - start) / place, 0, 1))
    largest = (1 - rng.random(repeats)) ** (1 / np.maximum(missed, 1))
    before = np.searchsorted(ends, starts[cell] * largest)
    nearer = (missed > 0) & (target - parts * missed < parts * reached - target)
    return counts.ood_from[::-1][np.where(nearer, before, cell)]


def bootstrap_ood_pos(
    counts: Counts, repeats: int, rng: np.random.Generator, recall: Fraction = RECALL
) -> NDArray[np.int64]:
    """Draw how many ID samples lie at or below the threshold of a resampled OOD set, shape (repeats,).

    The threshold is the OOD sample of rank ceil(recall * n), so no neighbour is needed.
    """
    n = counts.n_ood
    place = _order_statistic(_ceil(recall, n), n, repeats, rng)
    return counts.id_up_to[np.searchsorted(counts.ood_up_to, place * n)]


def fiducial_id_pos(
    counts: Counts, repeats: int, rng: np.random.Generator, recall: Fraction = RECALL
) -> NDArray[np.int64]:
    """Draw how many OOD samples lie at or above the population's threshold, given the ID sample, shape (repeats,).

    Of n ID samples Binomial(n, recall) lie above it: K. So it is between the K-th and the (K+1)-th highest, each of
    which is taken half of the time; above all of them no OOD sample counts, below all every one does. A resampled set,
    which holds no score lower than the sample's lowest, cannot say that where n is small.
    """
    place = rng.binomial(counts.n_id, float(recall), repeats) + rng.integers(0, 2, repeats)
    cell = np.searchsorted(counts.id_from[::-1], np.clip(place, 1, counts.n_id))
    above = counts.ood_from[::-1][cell]
    return np.where(place == 0, 0, np.where(place > counts.n_id, counts.n_ood, above))


def fpr_interval(
    counts: Counts, positive: str, repeats: int = 1000, seed: int = 0, recall: Fraction = RECALL
) -> tuple[float, float]:
    """Return the 95 % interval of a false-positive rate.

    Two things are uncertain. The threshold is drawn by the bootstrap, or where its side has fewer than 200 samples by
    the fiducial draw. Given it, the rate of x beyond it out of m is drawn from Jeffreys' Beta(x + 1/2, m - x + 1/2). An
    end at which nothing was seen stays there: at 0 where the rate or the bootstrap's own end is 0, at 1 likewise.

    Args:
        counts: The sorted scores of the pair of sets.
        positive: "id" or "ood": whose recall the threshold is at.
        repeats: Number of draws.
        seed: Of the draws.
        recall: The recall at which the rate is read.
    """
    rng = np.random.default_rng([seed, positive == "ood"])
    n, m = (counts.n_id, counts.n_ood) if positive == "id" else (counts.n_ood, counts.n_id)
    rate = (fpr_id_pos if positive == "id" else fpr_ood_pos)(counts, recall)
    if n < FEW_FOR_BOOTSTRAP:
        beyond = fiducial_id_pos(counts if positive == "id" else mirrored(counts), repeats, rng, recall)
    else:
        beyond = (bootstrap_id_pos if positive == "id" else bootstrap_ood_pos)(counts, repeats, rng, recall)
    lo, hi = np.quantile(rng.beta(beyond + 0.5, m - beyond + 0.5), TAILS)
    resampled = np.quantile(rng.binomial(m, beyond / m) / m, TAILS)
    lo = 0.0 if min(rate, resampled[0]) <= 0 else lo
    hi = 1.0 if max(rate, resampled[1]) >= 1 else hi
    return float(min(lo, rate)), float(max(hi, rate))


def mirrored(counts: Counts) -> Counts:
    """Return the counts of negated scores with ID and OOD exchanged, which exchanges both false-positive rates."""
    return Counts(-counts.values[::-1], counts.ood_counts[::-1], counts.id_counts[::-1])


def _ceil(recall: Fraction, n: int) -> int:
    """Return the smallest integer that is at least recall * n, without rounding."""
    return -(-recall.numerator * n // recall.denominator)


def _order_statistic(k: int, n: int, repeats: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the k-th smallest of n uniforms, shape (repeats,), inside the open interval (0, 1)."""
    return np.clip(rng.beta(k, n - k + 1, repeats), np.finfo(float).tiny, 1 - np.finfo(float).epsneg)


def fprs_at(recall: Fraction, counts: Counts, repeats: int = 1000, seed: int = 0) -> dict[str, float]:
    """Return both false-positive rates at a recall with their 95 % intervals, as fpr90_id_pos and fpr90_id_pos_lo."""
    rates: dict[str, float] = {}
    for name, positive, rate in zip(fpr_names(recall), ("id", "ood"), (fpr_id_pos, fpr_ood_pos), strict=True):
        lo, hi = fpr_interval(counts, positive, repeats, seed, recall)
        rates |= {name: rate(counts, recall), f"{name}_lo": lo, f"{name}_hi": hi}
    return rates


def fpr_columns(recalls: Sequence[Fraction]) -> list[str]:
    """Return the columns that metrics.parquet has for some recalls."""
    return [f"{name}{end}" for recall in recalls for name in fpr_names(recall) for end in ("", "_lo", "_hi")]


def intervals(counts: Counts, repeats: int = 1000, seed: int = 0) -> dict[str, float]:
    """Return the 95 % intervals of AUROC and both false-positive rates, by their columns in metrics.parquet.

    Args:
        counts: The sorted scores of the pair of sets.
        repeats: Draws of the false-positive rates; 1000 leave a Monte-Carlo error of about a twentieth of the
            interval's half-width.
        seed: Seed of the draws; equal seeds give equal intervals.

    Returns:
        `auroc_lo`, `auroc_hi`, and the same for `fpr95_id_pos` and `fpr95_ood_pos`, as fractions.
    """
    bounds = {
        "auroc": auroc_interval(counts),
        "fpr95_id_pos": fpr_interval(counts, "id", repeats, seed),
        "fpr95_ood_pos": fpr_interval(counts, "ood", repeats, seed),
    }
    return {
        f"{name}_{end}": float(x) for name, pair in bounds.items() for end, x in zip(("lo", "hi"), pair, strict=True)
    }


def all_metrics(
    id_scores: ArrayLike,
    ood_scores: ArrayLike,
    *,
    repeats: int = 1000,
    seed: int = 0,
    recalls: Iterable[float | Fraction] = (),
) -> dict[str, float]:
    """Return all that metrics.parquet says of a pair of sets: counts, rates and the ends of their 95 % intervals.

    Args:
        id_scores: Scores of the ID samples, higher for more in-distribution, shape (N,).
        ood_scores: Scores of the OOD samples, shape (M,).
        repeats: Draws, see `intervals`.
        seed: Seed of the draws.
        recalls: At which false-positive rates are wanted too, as .9; six decimals at most.

    Returns:
        `n_id`, `n_ood` and, as fractions, `COLUMNS` and `fpr_columns` of the recalls.

    Raises:
        OodgridError: A side is not one-dimensional, numeric, non-empty and finite, the message names the side; or a
            recall is none.
    """
    if isinstance(recalls, str) or not isinstance(recalls, Iterable):
        raise OodgridError(f"recalls: a list of fractions is needed, as [0.9], not {brief(recalls)}")
    exact = [exact_recall(recall) for recall in recalls]
    repeats, seed = whole_number(repeats, "repeats", 1), whole_number(seed, "seed")
    counts = count_scores(id_scores, ood_scores)
    rates = metrics_from_counts(counts) | intervals(counts, repeats, seed)
    for recall in exact:
        rates |= fprs_at(recall, counts, repeats, seed)
    return {name: rates[name] for name in ("n_id", "n_ood", *COLUMNS, *fpr_columns(exact))}
