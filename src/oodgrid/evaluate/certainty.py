"""Variances of means and of differences: of samples and of fits together, and what follows for a column of a table.

What is fixed and what is random: the OOD sets are fixed, their samples and the ID samples are drawn, and so are the
fits, of which seeds (and, of streams, orders) show the spread. The two variances add up, and Satterthwaite's
degrees of freedom say how well the smaller number of fits is known. Orders say nothing of seeds: how much rows vary is
pooled among those that have seeds, and apart from them among those that have orders alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import psi, stdtr, stdtrit

NOTHING, ORDERS, SEEDS = range(3)  # what the fits of a row vary by; SEEDS: with orders or without
ROUNDING = 1e-13  # what arithmetic makes of equal rates, means of them and their differences
PRIOR = 4  # degrees of freedom that all rows of a column give to the variance of each; a choice, not estimated
LEVEL = 0.05
DRAWS = 2000  # for the optimism of a best: its Monte-Carlo error is a hundredth of the noise


class Fits(NamedTuple):
    """What the fits of R rows, or of R differences, vary by.

    Attributes:
        variance: Of one seed, or of one order where there are no seeds, shape (R,): NaN where one is all there is.
        df: Degrees of freedom of it; 0 where there is none.
        number: By what the variance of the mean is smaller: the number of seeds, or of orders.
    """

    variance: NDArray[np.float64]
    df: NDArray[np.float64]
    number: NDArray[np.float64]


def fits_of(values: NDArray[np.float64], seeded: bool = True) -> Fits:
    """Return how much fits vary, from a value for each seed and order: shape (R, S, O), NaN where there is none.

    Seeds and orders are two crossed components: every seed meets the same orders. The variance of the mean is that of
    the seeds' means and that of the orders' means, less what both contain of the rest.

    Args:
        values: Of the rows.
        seeded: Whether rows have seeds: then one seed tells nothing of others, whatever its orders do.
    """
    if values.shape[2] == 1:
        return _of_seeds(values[:, :, 0])
    parts = [_crossed(each, seeded) for each in values]
    return Fits(*(np.array(column) for column in zip(*parts, strict=True)))


def _of_seeds(values: NDArray[np.float64]) -> Fits:
    """Return how much the fits of rows vary, from values (R, S)."""
    there = np.isfinite(values)
    count = there.sum(axis=1)
    mean = np.where(there, values, 0).sum(axis=1) / np.maximum(count, 1)
    squares = np.where(there, (values - mean[:, None]) ** 2, 0).sum(axis=1)
    width = np.where(there, values, -np.inf).max(axis=1) - np.where(there, values, np.inf).min(axis=1)
    # Equal fits are one fit: their shots were the same, as where a seed has no more images to choose from. At 0 and
    # 1, the ends of a rate and no difference at all, fits that differ give equal values too.
    equal = width <= ROUNDING
    count = np.where(equal & ~_at_an_end(mean), 1, count)
    variance = np.where(count > 1, np.where(equal, 0, squares) / np.maximum(count - 1, 1), np.nan)
    return Fits(variance, np.maximum(count - 1.0, 0.0), np.maximum(count, 1.0))


def _at_an_end(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which values are the ends of a rate, or no difference at all."""
    return np.abs(values - np.round(values)) <= ROUNDING


def _crossed(values: NDArray[np.float64], seeded: bool) -> tuple[float, float, float]:
    """Return variance, degrees of freedom and count of one row, from values (S, O)."""
    values = values[np.isfinite(values).any(axis=1)]
    values = values[:, np.isfinite(values).all(axis=0)] if len(values) else values
    if values.size == 0:
        return np.nan, 0.0, 1.0
    seeds, orders = values.shape
    equal = np.ptp(values, axis=0).max() <= ROUNDING and not _at_an_end(values).all()  # see _of_seeds
    if seeded and (seeds == 1 or equal):
        return np.nan, 0.0, 1.0
    of_seeds, of_orders = values.mean(axis=1), values.mean(axis=0)
    rest = values - of_seeds[:, None] - of_orders + values.mean()
    degrees = np.array([seeds - 1, orders - 1, (seeds - 1) * (orders - 1)], dtype=float)
    squares = np.array([orders * np.var(of_seeds) * seeds, seeds * np.var(of_orders) * orders, np.sum(rest**2)])
    if not degrees.any():
        return np.nan, 0.0, 1.0
    squares[squares <= values.size * ROUNDING**2] = 0  # else the logarithm of rounding would rule the pool
    means = np.divide(squares, degrees, out=np.zeros(3), where=degrees > 0)
    variance = max(means[0] + means[1] - means[2], means[0], means[1])
    spread = np.sum(np.divide(means**2, degrees, out=np.zeros(3), where=degrees > 0))
    df = variance**2 / spread if spread else max(degrees[:2])
    number = seeds if seeded else orders  # of what the pool's variance is: of a seed, or of an order
    df = float(np.clip(df, 1, degrees.sum()))  # below 1 it would count as one fit
    return variance * number / (seeds * orders), df, float(number)


def pooled(fits: Fits) -> float | None:
    """Return the geometric pool of the variances of all rows (Smyth 2004, limma); None where no row has one.

    An arithmetic mean would be that of the wildest row alone.
    """
    there = (fits.df >= 1) & (np.nan_to_num(fits.variance) > 0)
    if not there.any():
        return None
    half = fits.df[there] / 2
    return float(np.exp(np.mean(np.log(fits.variance[there]) - psi(half) + np.log(half))))


def pools(fits: Fits, varied: NDArray[np.int_]) -> NDArray[np.float64]:
    """Return for each row the pool of the rows that vary by the same, shape (R,): NaN where none tells it.

    Args:
        fits: Of the rows.
        varied: What the fits of each row vary by, shape (R,): NOTHING, ORDERS or SEEDS.
    """
    found = np.full(len(varied), np.nan)
    for source in (ORDERS, SEEDS):
        pool = pooled(fits._replace(df=np.where(varied == source, fits.df, 0)))
        found[varied == source] = np.nan if pool is None else pool
    return found


def moderated(fits: Fits, varied: NDArray[np.int_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variance of each row's mean over fits with its degrees of freedom, each row's own drawn to its pool.

    Rows that vary by nothing have none, and so have rows whose fits are equal. See `pools` for the arguments.
    """
    pool = pools(fits, varied)
    variances, known = np.nan_to_num(fits.variance), np.isfinite(pool)
    both = (PRIOR * np.nan_to_num(pool) + fits.df * variances) / (PRIOR + fits.df)
    still = (fits.df >= 1) & (variances == 0)
    variance = np.where(known & ~still, both, variances)
    return np.where(varied, variance, 0) / fits.number, np.where(known, fits.df + PRIOR, np.maximum(fits.df, 1))


def own_or_pooled(fits: Fits, varied: NDArray[np.int_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the variance of each row's mean over fits with its degrees of freedom; of one fit that of its pool.

    NaN where no row tells it. See `pools` for the arguments.
    """
    single = fits.df < 1
    variance = np.where(single, pools(fits, varied), fits.variance)
    return np.where(varied, variance, 0) / fits.number, np.where(single, PRIOR, fits.df)


def satterthwaite(samples: NDArray, fits: NDArray, df: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the whole variance and its degrees of freedom, infinite where fits add nothing. Shapes (R,)."""
    fits = np.nan_to_num(fits)
    whole = samples + fits
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(fits > 0, df * (whole / fits) ** 2, np.inf)
    return whole, degrees


def quantile(df: NDArray[np.float64], share: float = 1 - LEVEL / 2) -> NDArray[np.float64]:
    """Return the quantile of Student's distribution, of the normal where degrees of freedom are infinite."""
    return stdtrit(np.minimum(df, 1e9), share)


def upper_tail(difference: NDArray, variance: NDArray, df: NDArray) -> NDArray[np.float64]:
    """Return the chance of a difference at least that large where there is none.

    It is 1/2 of no difference at all, and of one whose variance is unknown (NaN), which tells no two rows apart.
    """
    variance = np.nan_to_num(variance, nan=np.inf, posinf=np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(variance > 0, difference / np.sqrt(variance), np.where(difference == 0, 0.0, np.inf * difference))
    return stdtr(np.fmin(df, 1e9), -np.nan_to_num(t, posinf=np.inf, neginf=-np.inf))


def sidak(p: NDArray[np.float64], others: int) -> NDArray[np.float64]:
    """Return p of a row that is held against the best of itself and some others, corrected for their number."""
    return -np.expm1(others * np.log1p(-np.minimum(p, 1 - 1e-16))) if others else np.ones_like(p)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p of a family of tests, corrected by Holm (1979)."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(steps, 1)
    return corrected


def optimism(variances: Sequence[float]) -> float | None:
    """Return by how much the best of some rows is overstated where they are equal in truth; None where that is unknown.

    The noise of a row apart from what it shares with the best is half of the variance of the difference; the expected
    largest of as many independent normals is what picking the largest adds.

    Args:
        variances: Of the differences between the best and each row that is not distinguishable from it.
    """
    if not len(variances):
        return 0.0
    if not np.isfinite(variances).all():  # as of an OOD set of one sample
        return None
    deviations = np.sqrt(np.asarray(variances) / 2)
    sds = np.append(deviations, np.median(deviations))  # of the best itself
    draws = np.random.default_rng(0).standard_normal((DRAWS, len(sds)))
    return float(np.max(draws * sds, axis=1).mean())
