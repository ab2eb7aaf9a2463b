"""How much each sample moves a rate: what variances and paired differences are computed from.

The rate of a sample of a population is, to first order, its expectation plus the mean of one value for each ID sample
plus the mean of one value for each OOD sample (influence values, Hampel 1974). For AUROC these are DeLong's placements;
for a false-positive rate the indicator of the counted side, and that of the side of the threshold times the slope of
the ROC curve there. Two rows of a table are compared on the same samples, so their values are subtracted sample by
sample, and the variance of the difference knows how alike they are. OOD sets share the ID samples: averaged over sets
first, they are no replicates.

Constants are left in the values, because variances do not see them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")  # which have influence values
WINDOW = 1.5  # of the slope of the ROC curve, in standard errors of the recall; from .5 to 3 little changes


@dataclass(frozen=True)
class Layout:
    """The samples of an ID set and its OOD sets, as one vector holds a value for each.

    Attributes:
        n_id: ID samples n.
        n_oods: OOD samples of each set, m_j, j = 1 … J.
    """

    n_id: int
    n_oods: tuple[int, ...]

    @property
    def size(self) -> int:
        """Length of a vector: J values of each ID sample (one where there is no OOD set), one of each OOD sample."""
        return self.n_id * max(len(self.n_oods), 1) + sum(self.n_oods)

    def split(self, vector: NDArray) -> tuple[NDArray, list[NDArray]]:
        """Return the views of a vector: ID values (J, n), and the OOD values (m_j,) of each set."""
        sets = max(len(self.n_oods), 1)
        in_id, in_oods = vector[: sets * self.n_id], vector[sets * self.n_id :]
        return in_id.reshape(sets, self.n_id), np.split(in_oods, np.cumsum(self.n_oods)[:-1]) if self.n_oods else []


@dataclass(frozen=True)
class Spread:
    """Sampling variances of a rate, or of a difference of two, over J OOD sets.

    Attributes:
        of_id: Covariances between sets that the ID samples cause, shape (J, J).
        of_ood: Variances that the OOD samples cause, shape (J,).
    """

    of_id: NDArray[np.float64]
    of_ood: NDArray[np.float64]

    def parts(self, sets: Sequence[int]) -> tuple[float, float]:
        """Return both parts of the variance of the mean over some of the sets: of ID and of OOD samples."""
        chosen = np.asarray(sets or [0])  # of ID samples alone there is one set, and no OOD sample
        if not self.of_ood.size:
            return float(self.of_id[0, 0]), 0.0
        return float(self.of_id[np.ix_(chosen, chosen)].mean()), float(self.of_ood[chosen].mean() / len(chosen))


def spread(vector: NDArray, layout: Layout) -> Spread:
    """Return the sampling variances of a vector of influence values; infinite for a side of one sample."""
    in_id, in_oods = layout.split(vector)
    centred = in_id - in_id.mean(axis=1, keepdims=True, dtype=np.float64)
    n = layout.n_id
    # einsum, not BLAS, whose sums depend on the number of threads
    products = np.einsum("in,jn->ij", centred, centred) if n > 1 else np.full((len(in_id),) * 2, np.inf)
    of_ood = [_variance(values) / len(values) for values in in_oods]
    return Spread(products / (n * max(n - 1, 1)), np.array(of_ood))


def _variance(values: NDArray) -> float:
    return float(np.var(values, ddof=1, dtype=np.float64)) if len(values) > 1 else np.inf


def influence(
    id_scores: NDArray[np.float64], ood_scores: Sequence[NDArray[np.float64]], out: NDArray
) -> dict[str, NDArray[np.float64]]:
    """Add the influence values of one score to `out`, and return its rates.

    Args:
        id_scores: Shape (n,).
        ood_scores: Shapes (m_j,), j = 1 … J.
        out: A row of `Layout.size` for each of `RATES`, shape (3, L).

    Returns:
        Each of `RATES`, shape (J,): the rate of every set.
    """
    layout = Layout(len(id_scores), tuple(map(len, ood_scores)))
    places, distinct = _places([id_scores, *ood_scores])
    of_id, *others = (_Side(of_set, distinct) for of_set in places)
    at_id = of_id.threshold_below()
    missed = (of_id.places < at_id.place).astype(out.dtype)  # ID samples below the threshold
    rates = {name: np.empty(len(others)) for name in RATES}
    split = dict(zip(RATES, map(layout.split, out), strict=True))
    for j, other in enumerate(others):
        id_wins, ood_loses = of_id.share_below(other), 1 - other.share_below(of_id)
        _add(split["auroc"], j, id_wins, ood_loses)
        rates["auroc"][j] = ood_loses.mean()
        kept = other.places >= at_id.place
        _add(split["fpr95_id_pos"], j, at_id.slope(other.share_from) * missed, kept)
        rates["fpr95_id_pos"][j] = kept.mean()
        at_ood = other.threshold_above()
        flagged = of_id.places <= at_ood.place
        _add(split["fpr95_ood_pos"], j, flagged, at_ood.slope(of_id.share_up_to) * (other.places > at_ood.place))
        rates["fpr95_ood_pos"][j] = flagged.mean()
    return rates


def _add(split: tuple[NDArray, list[NDArray]], j: int, of_id: NDArray, of_ood: NDArray) -> None:
    """Add values (n,) of the ID samples and (m_j,) of the OOD samples of set j."""
    split[0][j] += of_id
    split[1][j] += of_ood


def _places(sets: Sequence[NDArray[np.float64]]) -> tuple[list[NDArray], int]:
    """Sort all sets of scores at once: for each the index of every sample's value among the distinct values."""
    every = np.concatenate(sets)
    order = np.argsort(every)
    ascending = every[order]
    index = np.cumsum(np.append(False, ascending[1:] != ascending[:-1]), dtype=np.int32)
    place = np.empty(len(every), np.int32)
    place[order] = index
    return np.split(place, np.cumsum([len(each) for each in sets])[:-1]), int(index[-1]) + 1


@dataclass(frozen=True)
class _Threshold:
    """Where a recall of .95 is reached, and around it those a step lower and higher.

    Attributes:
        place: Index of the value.
        around: Two indices.
        step: The difference of their recalls.
    """

    place: int
    around: tuple[int, int]
    step: float

    def slope(self, share: Callable[[int], float]) -> float:
        """Return how fast the other side's share grows with the recall."""
        low, high = map(share, self.around)
        return (high - low) / self.step if self.step else 0.0


class _Side:
    """One set of samples among the distinct values of all.

    Attributes:
        places: Index of each sample's value, shape (N,).
        up_to: Samples up to each value, shape (U,).
        twice_mid: Samples below and samples up to each value, added, shape (U,).
    """

    def __init__(self, places: NDArray, distinct: int) -> None:
        counts = np.bincount(places, minlength=distinct)
        self.places, self.size = places, len(places)
        self.up_to = np.cumsum(counts)
        self.twice_mid = 2 * self.up_to - counts

    def share_below(self, other: _Side) -> NDArray[np.float64]:
        """Return the share of another set below each sample, ties half, shape (N,)."""
        return other.twice_mid[self.places] / (2.0 * other.size)

    def share_from(self, place: int) -> float:
        """Return the share of the samples at or above a value."""
        return 1 - (self.up_to[place - 1] / self.size if place else 0.0)

    def share_up_to(self, place: int) -> float:
        """Return the share of the samples at or below a value."""
        return self.up_to[place] / self.size

    def threshold_below(self) -> _Threshold:
        """Return the value of this set with the recall, seen from above, nearest to .95; of two as near the lower."""
        n = self.size
        lower = self._highest(-(-19 * n // 20))
        above = int(self.up_to[lower])  # samples up to it; the next higher value of the set begins behind them
        higher = int(np.searchsorted(self.up_to, above, "right")) if above < n else lower
        reached = n - (int(self.up_to[lower - 1]) if lower else 0)
        nearer = 19 * n - 20 * (n - above) < 20 * reached - 19 * n and above < n
        return self._around(higher if nearer else lower, self._highest)

    def threshold_above(self) -> _Threshold:
        """Return the lowest value with at least .95 of this set up to it."""
        return self._around(self._lowest(-(-19 * self.size // 20)), self._lowest)

    def _lowest(self, count: int) -> int:
        """Return the place of the sample of that rank, from the lowest up."""
        return int(np.searchsorted(self.up_to, count))

    def _highest(self, count: int) -> int:
        """Return the place of the sample of that rank, from the highest down."""
        return self._lowest(self.size - count + 1)

    def _around(self, place: int, find: Callable[[int], int]) -> _Threshold:
        step = WINDOW * sqrt(0.05 * 0.95 / self.size)
        low, high = max(0.95 - step, 1 / self.size), min(0.95 + step, 1.0)
        ranks = [max(1, ceil(recall * self.size - 1e-9)) for recall in (low, high)]
        return _Threshold(place, (find(ranks[0]), find(ranks[1])), high - low)
