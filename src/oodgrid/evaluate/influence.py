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

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

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
        """Length of a vector: J values of each ID sample, then one of each OOD sample."""
        return self.n_id * len(self.n_oods) + sum(self.n_oods)

    def split(self, vector: NDArray) -> tuple[NDArray, list[NDArray]]:
        """Return the views of a vector: ID values (J, n), and the OOD values (m_j,) of each set."""
        sets = len(self.n_oods)
        in_id, in_oods = vector[: sets * self.n_id], vector[sets * self.n_id :]
        return in_id.reshape(sets, self.n_id), np.split(in_oods, np.cumsum(self.n_oods)[:-1])


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
        chosen = np.asarray(sets)
        return float(self.of_id[np.ix_(chosen, chosen)].mean()), float(self.of_ood[chosen].mean() / len(chosen))


def spread(vector: NDArray, layout: Layout) -> Spread:
    """Return the sampling variances of a vector of influence values; infinite for a side of one sample."""
    in_id, in_oods = layout.split(vector)
    centred = in_id - in_id.mean(axis=1, keepdims=True, dtype=np.float64)
    n = layout.n_id
    # einsum, not BLAS, whose sums depend on the number of threads
    products = np.einsum("in,jn->ij", centred, centred) if n > 1 else np.full((len(in_oods),) * 2, np.inf)
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
    ranks = _Ranks(id_scores, ood_scores)
    rates = {name: np.empty(len(ood_scores)) for name in RATES}
    for j, (m, places) in enumerate(zip(layout.n_oods, ranks.places[1:], strict=True)):
        of_set = ranks.up_to(j + 1)
        values = {
            "auroc": _auroc(ranks, of_set, places, m),
            "fpr95_id_pos": _fpr(*ranks.of_id, ranks.id_places, ranks.n_id, *of_set, places, m, nearest=True),
            "fpr95_ood_pos": _flipped(ranks, of_set, places, m),
        }
        for row, name in zip(out, RATES, strict=True):
            in_id, in_oods = layout.split(row)
            of_id, of_ood, rates[name][j] = values[name]
            in_id[j] += of_id
            in_oods[j] += of_ood
    return rates


class _Ranks:
    """All scores of a score sorted once: where each sample stands, and how many of each set are below each place.

    Attributes:
        places: For the ID set and each OOD set, the index of each sample's value among the U distinct values.
        of_id: ID samples below and up to each distinct value, both of shape (U,).
    """

    def __init__(self, id_scores: NDArray[np.float64], ood_scores: Sequence[NDArray[np.float64]]) -> None:
        self.n_id = len(id_scores)
        every = np.concatenate([id_scores, *ood_scores])
        order = np.argsort(every)
        ascending = every[order]
        new = np.append(True, ascending[1:] != ascending[:-1])
        place = np.empty(len(every), np.int64)
        place[order] = np.cumsum(new) - 1
        self.distinct = int(new.sum())
        self.places = np.split(place, np.cumsum([self.n_id, *map(len, ood_scores)])[:-1])
        self.id_places = self.places[0]
        self.of_id = self.up_to(0)

    def up_to(self, which: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many samples of a set are below each distinct value, and how many up to it, shapes (U,)."""
        counts = np.bincount(self.places[which], minlength=self.distinct)
        ends = np.cumsum(counts)
        return ends - counts, ends


def _auroc(
    ranks: _Ranks, of_set: tuple[NDArray, NDArray], places: NDArray, m: int
) -> tuple[NDArray, NDArray, float]:
    """Return DeLong's placements: share of OOD below each ID sample, of ID above each OOD sample, ties half."""
    of_id = ((of_set[0] + of_set[1]) / (2 * m))[ranks.id_places]
    of_ood = 1 - ((ranks.of_id[0] + ranks.of_id[1]) / (2 * ranks.n_id))[places]
    return of_id, of_ood, float(of_ood.mean())


def _fpr(
    below: NDArray, up_to: NDArray, own: NDArray, n: int,
    other_below: NDArray, other_up_to: NDArray, other: NDArray, m: int, nearest: bool,
) -> tuple[NDArray, NDArray, float]:  # fmt: skip
    """Return the influence values of a false-positive rate, and the rate.

    Places and counts are of the side on which the threshold lies, higher = kept, and of the other one.

    Args:
        below: Samples of the side of the threshold below each value, shape (U,).
        up_to: And up to it.
        own: The places of its samples, shape (n,).
        n: Their number.
        other_below: Samples of the other side below each value.
        other_up_to: And up to it.
        other: The places of its samples, shape (m,).
        m: Their number.
        nearest: Whether the threshold has the nearest recall to .95 (else the first that reaches it).
    """
    held = np.flatnonzero(up_to > below)  # distinct values of the side, ascending
    kept = n - below[held]  # at or above each
    if nearest:
        place = held[np.argmin(np.abs(20 * kept - 19 * n))]
    else:
        place = held[np.flatnonzero(20 * kept >= 19 * n)[-1]]
    rate = (m - other_below[place]) / m
    step = WINDOW * sqrt(0.05 * 0.95 / n)
    recalls = np.array([max(0.95 - step, 1 / n), min(0.95 + step, 1.0)])
    wanted = np.clip(np.ceil(recalls * n - 1e-9), 1, n)
    at = held[len(held) - np.searchsorted(kept[::-1], wanted, "left") - 1]  # the highest value that keeps so many
    slope = float(np.diff((m - other_below[at]) / m)[0]) / float(np.diff(recalls)[0]) if n > 1 else 0.0
    return slope * (own < place), (other >= place).astype(np.float64), float(rate)


def _flipped(
    ranks: _Ranks, of_set: tuple[NDArray, NDArray], places: NDArray, m: int
) -> tuple[NDArray, NDArray, float]:
    """Return the influence values of the rate with OOD as the positive class: all seen from the other end."""
    last = ranks.distinct - 1
    turned = [(size - up_to[::-1], size - below[::-1]) for (below, up_to), size in ((of_set, m), (ranks.of_id, ranks.n_id))]
    of_ood, of_id, rate = _fpr(
        *turned[0], last - places, m, *turned[1], last - ranks.id_places, ranks.n_id, nearest=False
    )
    return of_id, of_ood, rate
