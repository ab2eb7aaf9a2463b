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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from oodgrid.evaluate.intervals import FEW_FOR_BOOTSTRAP

RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")  # which have influence values
WINDOW = 1.5  # of the slope of the ROC curve, in standard errors of the recall; from .5 to 3 little changes
REACH = 3.0  # standard errors of the recall: where the threshold of other samples would lie
MOST_TIED = 0.2  # share of the samples within reach that may have one score; with more a rate jumps


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

    def slices(self, sets: Sequence[int]) -> list[slice]:
        """Return where a vector has what belongs to some sets: ID values on the rate of each, then its OOD values."""
        starts = self.n_id * max(len(self.n_oods), 1) + np.cumsum([0, *self.n_oods])
        of_id = [slice(j * self.n_id, (j + 1) * self.n_id) for j in sets or [0]]
        return of_id + [slice(int(starts[j]), int(starts[j + 1])) for j in sets]


def of_mean(values: Sequence[NDArray], sets: int) -> list[NDArray[np.float64]]:
    """Return the influence values on the mean of a rate over OOD sets: of the ID samples, then of those of each set.

    The sets share the ID samples, so that of an ID sample the mean of its values counts.

    Args:
        values: Those of the ID samples on the rate of each set, then of the samples of each OOD set.
        sets: How many OOD sets there are; 0 for a rate of the ID samples alone.
    """
    count = max(sets, 1)
    of_id = np.asarray(np.mean(values[:count], axis=0, dtype=np.float64))
    return [of_id, *(each / np.float64(count) for each in values[count:])]


def deviations(of_sets: Sequence[NDArray]) -> NDArray[np.float64]:
    """Return one vector of the influence values (N,) of all sets of samples, scaled so that `variance` is a square sum.

    Those of two rows on the same samples are subtracted for the variance of their difference. NaN where a set has one
    sample, whose spread nobody knows.
    """
    parts = []
    for values in of_sets:
        n = len(values)
        centred = values - values.mean(dtype=np.float64)
        parts.append(np.divide(centred, (n * (n - 1)) ** 0.5, out=centred) if n > 1 else np.array([np.nan]))
    return np.concatenate(parts)


def variance(of_row: NDArray[np.float64], of_other: NDArray[np.float64] | None = None) -> float:
    """Return the sampling variance of a row, or of its difference to another, from `deviations`; infinite for NaN."""
    vector = of_row if of_other is None else of_row - of_other
    square = float(np.einsum("i,i->", vector, vector))  # not BLAS, whose sums depend on the number of threads
    return np.inf if np.isnan(square) else square


def influence(
    id_scores: NDArray[np.float64], ood_scores: Sequence[NDArray[np.float64]], out: NDArray
) -> NDArray[np.bool_]:
    """Add the influence values of one score to `out`, and return which rates jump with their threshold, shape (3, J).

    A slope says nothing of a rate that jumps: where the side of its threshold has few samples, or many of those about
    the threshold have one score, other samples move it by a step or not at all, and a variance may be far too small.

    Args:
        id_scores: Shape (n,).
        ood_scores: Shapes (m_j,), j = 1 … J.
        out: A row of `Layout.size` for each of `RATES`, shape (3, L).
    """
    jumps = np.zeros((len(RATES), len(ood_scores)), bool)
    layout = Layout(len(id_scores), tuple(map(len, ood_scores)))
    areas, of_id_pos, of_ood_pos = map(layout.split, out)
    of_id = _Side(id_scores)
    at_id = of_id.threshold_below()
    jumps[1] = at_id.jumps
    missed = np.flatnonzero(id_scores < at_id.value)
    for j, scores in enumerate(ood_scores):
        other = _Side(scores)
        wins, losses = _placements(of_id, other)
        areas[0][j] += wins
        areas[1][j] += losses
        of_id_pos[0][j][missed] += at_id.slope(other.share_from)
        of_id_pos[1][j] += scores >= at_id.value
        at_ood = other.threshold_above()
        of_ood_pos[0][j] += id_scores <= at_ood.value
        of_ood_pos[1][j] += at_ood.slope(of_id.share_up_to) * (scores > at_ood.value)
        jumps[2, j] = at_ood.jumps
    return jumps


def _placements(of_id: _Side, other: _Side) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of the OOD below each ID sample (n,), and of the ID above each OOD sample (m,); ties half.

    Both sides are sorted, so that one search of the OOD among the ID tells both: an ID sample is above those OOD
    samples that are found before it.
    """
    below = np.searchsorted(of_id.ascending, other.ascending)  # ID samples below each OOD sample
    up_to = below.copy()
    tied = np.flatnonzero(of_id.ascending[np.minimum(below, of_id.size - 1)] == other.ascending)
    if tied.size:
        up_to[tied] = of_id.ends[below[tied]]
    losses = np.empty(other.size)
    losses[other.order] = 1 - (below + up_to) / (2.0 * of_id.size)
    steps = np.bincount(np.concatenate([below, up_to]), minlength=of_id.size)[: of_id.size]
    twice = np.cumsum(steps, out=steps)  # OOD samples below, and up to, each ID sample, added
    return (twice / (2.0 * other.size)).take(of_id.ranks), losses


@dataclass(frozen=True)
class _Threshold:
    """Where a recall of .95 is reached, and around it those a step lower and higher.

    Attributes:
        value: The score.
        around: Two scores.
        step: The difference of their recalls.
        jumps: Whether the threshold of other samples may be a step away, and not a little.
    """

    value: float
    around: tuple[float, float]
    step: float
    jumps: bool

    def slope(self, share: Callable[[float], float]) -> np.float64:
        """Return how fast the other side's share grows with the recall."""
        low, high = map(share, self.around)
        return np.float64((high - low) / self.step if self.step else 0.0)  # added to float32 in double precision


class _Side:
    """One set of scores (N,), sorted.

    Attributes:
        size: N.
        order: Which sample is at each place of the sorted scores, shape (N,).
        ascending: The sorted scores, shape (N,).
    """

    def __init__(self, scores: NDArray[np.float64]) -> None:
        self.size, self.order = len(scores), np.argsort(scores)
        self.ascending = scores[self.order]

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """The place of each sample among the sorted, shape (N,)."""
        ranks = np.empty(self.size, np.int64)
        ranks[self.order] = np.arange(self.size)
        return ranks

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """How many samples there are up to the value at each place, shape (N,)."""
        last = np.append(self.ascending[1:] != self.ascending[:-1], True)
        ends = np.flatnonzero(last) + 1
        return np.repeat(ends, np.diff(ends, prepend=0))

    def share_from(self, value: float) -> float:
        """Return the share of the samples at or above a value."""
        return 1 - int(np.searchsorted(self.ascending, value)) / self.size

    def share_up_to(self, value: float) -> float:
        """Return the share of the samples at or below a value."""
        return int(np.searchsorted(self.ascending, value, "right")) / self.size

    def threshold_below(self) -> _Threshold:
        """Return the value of this set with the recall, seen from above, nearest to .95; of two as near the lower."""
        n = self.size
        lower = float(self.ascending[n + (-19 * n // 20)])  # of that rank from the highest down
        start, end = (int(np.searchsorted(self.ascending, lower, side)) for side in ("left", "right"))
        # The next higher value has a recall of n - end samples, this one of n - start.
        nearer = end < n and 19 * n - 20 * (n - end) < 20 * (n - start) - 19 * n
        return self._around(float(self.ascending[end]) if nearer else lower, self.ascending[::-1])

    def threshold_above(self) -> _Threshold:
        """Return the lowest value with at least .95 of this set up to it."""
        return self._around(float(self.ascending[-(-19 * self.size // 20) - 1]), self.ascending)

    def _around(self, value: float, kept: NDArray[np.float64]) -> _Threshold:
        (low, start), (high, end) = self._within(WINDOW)
        jumps = self.size < FEW_FOR_BOOTSTRAP or MOST_TIED < self._tied(kept) < 1  # of 1 it can have no other score
        return _Threshold(value, (float(kept[start]), float(kept[end])), high - low, jumps)

    def _tied(self, kept: NDArray[np.float64]) -> float:
        """Return which share the most frequent score has of the samples about the threshold."""
        (_, start), (_, end) = self._within(REACH)
        about = kept[start : end + 1]
        edges = np.flatnonzero(about[1:] != about[:-1])
        return float(np.diff(edges, prepend=-1, append=len(about) - 1).max() / len(about))

    def _within(self, errors: float) -> Iterator[tuple[float, int]]:
        """Yield recalls some standard errors below and above .95, with the places where they are reached."""
        step = errors * sqrt(0.05 * 0.95 / self.size)
        for recall in (max(0.95 - step, 1 / self.size), min(0.95 + step, 1.0)):
            yield recall, max(1, ceil(recall * self.size - 1e-9)) - 1
