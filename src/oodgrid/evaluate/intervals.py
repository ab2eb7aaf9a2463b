"""95 % confidence intervals of the detection metrics, in about a millisecond from sorted counts.

AUROC has DeLong's analytic variance. Both false-positive rates have the stratified percentile bootstrap (ID
and OOD are resampled separately), drawn exactly in distribution but without drawing N samples for each
repeat:

Resampling n values with replacement is the same as drawing n uniforms and letting each pick the sorted value
into whose share of [0, 1] it falls. A threshold at a fixed recall is then one order statistic of the
uniforms, and the k-th smallest of n uniforms follows Beta(k, n - k + 1). Given its place w, the k - 1 lower
ones are independent and uniform on (0, w) and the n - k higher ones on (w, 1), so how many of them share the
cell (s, e] of the picked value is binomial: (w - s) / w below, (e - w) / (1 - w) above. Finally, a resampled
share of the other set beyond the threshold is binomial with the observed share as its probability.

Degenerate inputs stay inside [0, 1] and never divide by zero. One sample on a side: DeLong's variance cannot
be estimated and the AUROC interval is (0, 1), while a bootstrap of one sample always draws that sample and
that side adds no width. All scores tied, or sets perfectly separated: both methods see no variation and the
intervals have zero width; such an interval says only that the sample shows no variation, not that the
population has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodgrid.evaluate.metrics import RATES, Counts, auroc, count_scores, metrics_from_counts

TAILS = (0.025, 0.975)
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
    """Return the Wald interval of the AUROC with DeLong's variance, clipped to [0, 1]."""
    area = auroc(counts)
    half = NormalDist().inv_cdf(TAILS[1]) * sqrt(delong_variance(counts))
    return max(0.0, area - half), min(1.0, area + half)


def bootstrap_fpr95_id_pos(counts: Counts, repeats: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw `fpr95_id_pos` of resampled sets, shape (repeats,).

    Seen from the highest score down, with k = ceil(.95 n), the k-th ID sample lies in the first value whose
    recall reaches .95: `reached` samples are at or above it, `missed` strictly above. The nearest recall is
    one of these two (ties: the higher, `reached`). Where it is `missed`, the threshold is the last value
    before, that of the largest of `missed` uniforms on (0, s): s * V ** (1 / missed) with V uniform.
    """
    n = counts.n_id
    k = _ceil95(n)
    ends = counts.id_from[::-1]
    starts = ends - counts.id_counts[::-1]
    place = _order_statistic(k, n, repeats, rng)
    cell = np.searchsorted(ends, place * n)
    start, end = starts[cell] / n, ends[cell] / n
    reached = k + rng.binomial(n - k, np.clip((end - place) / (1 - place), 0, 1))
    missed = k - 1 - rng.binomial(k - 1, np.clip((place - start) / place, 0, 1))
    largest = (1 - rng.random(repeats)) ** (1 / np.maximum(missed, 1))
    before = np.searchsorted(ends, starts[cell] * largest)
    nearer = (missed > 0) & (19 * n - 20 * missed < 20 * reached - 19 * n)
    threshold = np.where(nearer, before, cell)
    return rng.binomial(counts.n_ood, counts.ood_from[::-1][threshold] / counts.n_ood) / counts.n_ood


def bootstrap_fpr95_ood_pos(counts: Counts, repeats: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw `fpr95_ood_pos` of resampled sets, shape (repeats,).

    Its threshold is the OOD sample of rank ceil(.95 n), so no neighbour is needed.
    """
    n = counts.n_ood
    place = _order_statistic(_ceil95(n), n, repeats, rng)
    threshold = np.searchsorted(counts.ood_up_to, place * n)
    return rng.binomial(counts.n_id, counts.id_up_to[threshold] / counts.n_id) / counts.n_id


def _ceil95(n: int) -> int:
    """Return the smallest integer that is at least .95 n, without rounding."""
    return -(-19 * n // 20)


def _order_statistic(k: int, n: int, repeats: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the k-th smallest of n uniforms, shape (repeats,), inside the open interval (0, 1)."""
    return np.clip(rng.beta(k, n - k + 1, repeats), np.finfo(float).tiny, 1 - np.finfo(float).epsneg)


def intervals(counts: Counts, repeats: int = 1000, seed: int = 0) -> dict[str, float]:
    """Return the 95 % intervals of AUROC and both false-positive rates, by their columns in metrics.parquet.

    Args:
        counts: The sorted scores of the pair of sets.
        repeats: Bootstrap repeats; 1000 leave a Monte-Carlo error of about a twentieth of the interval's
            half-width.
        seed: Seed of the bootstrap; equal seeds give equal intervals.

    Returns:
        `auroc_lo`, `auroc_hi`, and the same for `fpr95_id_pos` and `fpr95_ood_pos`, as fractions.
    """
    rng = np.random.default_rng(seed)
    bounds: dict[str, Iterable[float]] = {
        "auroc": auroc_interval(counts),
        "fpr95_id_pos": np.quantile(bootstrap_fpr95_id_pos(counts, repeats, rng), TAILS),
        "fpr95_ood_pos": np.quantile(bootstrap_fpr95_ood_pos(counts, repeats, rng), TAILS),
    }
    return {
        f"{name}_{end}": float(x) for name, pair in bounds.items() for end, x in zip(("lo", "hi"), pair, strict=True)
    }


def all_metrics(id_scores: ArrayLike, ood_scores: ArrayLike, *, repeats: int = 1000, seed: int = 0) -> dict[str, float]:
    """Return all that metrics.parquet says of a pair of sets: counts, rates and the ends of their 95 % intervals.

    Args:
        id_scores: Scores of the ID samples, higher for more in-distribution, shape (N,).
        ood_scores: Scores of the OOD samples, shape (M,).
        repeats: Bootstrap repeats, see `intervals`.
        seed: Seed of the bootstrap.

    Returns:
        `n_id`, `n_ood` and, as fractions, `COLUMNS`.

    Raises:
        OodgridError: A side is not one-dimensional, numeric, non-empty and finite; the message names the side.
    """
    counts = count_scores(id_scores, ood_scores)
    found = metrics_from_counts(counts) | intervals(counts, repeats, seed)
    return {name: found[name] for name in ("n_id", "n_ood", *COLUMNS)}
