"""Detection metrics of one pair of sets, in-distribution (ID) and out-of-distribution (OOD).

Scores are higher for more in-distribution samples, and every metric is a fraction in [0, 1]. All metrics are
read off one sorted table, `Counts`: how many ID and how many OOD samples hold each distinct score. Counting
is exact (integers), so ties and recalls such as 0.95 * n carry no rounding.

"FPR at 95 % recall" means two incompatible things in the literature, so neither is ever called just FPR95
here: `fpr95_id_pos` (ID is the positive class: Hendrycks & Gimpel 2017, MCM, NegLabel, LoCoOp) and
`fpr95_ood_pos` (OOD is the positive class: OpenOOD v1.5, pytorch-ood). On real data they differ by up to 13
points. `fpr95_id_pos_mcm` is the first as the code of the MCM line of papers has it, which counts more OOD.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oodgrid.edge import numbers

RATES = (
    *("auroc", "fpr95_id_pos", "fpr95_id_pos_mcm", "fpr95_ood_pos"),
    *("aupr_in", "aupr_out", "aupr_in_balanced", "aupr_out_balanced", "tied"),
)
RECALL = Fraction(19, 20)  # of "FPR at 95 % recall"; exact, as counts are


@dataclass(frozen=True, eq=False)
class Counts:
    """The sorted scores of a pair of sets: how many samples of each set hold each distinct value.

    Attributes:
        values: The U distinct scores of both sets, ascending, shape (U,).
        id_counts: ID samples at each value, shape (U,).
        ood_counts: OOD samples at each value, shape (U,).
    """

    values: NDArray[np.float64]
    id_counts: NDArray[np.int64]
    ood_counts: NDArray[np.int64]

    @cached_property
    def id_up_to(self) -> NDArray[np.int64]:
        """ID samples at or below each value, shape (U,)."""
        return np.cumsum(self.id_counts)

    @cached_property
    def ood_up_to(self) -> NDArray[np.int64]:
        """OOD samples at or below each value, shape (U,)."""
        return np.cumsum(self.ood_counts)

    @cached_property
    def id_from(self) -> NDArray[np.int64]:
        """ID samples at or above each value, shape (U,)."""
        return self.n_id - self.id_up_to + self.id_counts

    @cached_property
    def ood_from(self) -> NDArray[np.int64]:
        """OOD samples at or above each value, shape (U,)."""
        return self.n_ood - self.ood_up_to + self.ood_counts

    @property
    def n_id(self) -> int:
        """Number of ID samples."""
        return int(self.id_up_to[-1])

    @property
    def n_ood(self) -> int:
        """Number of OOD samples."""
        return int(self.ood_up_to[-1])


def count_scores(
    id_scores: ArrayLike, ood_scores: ArrayLike, sides: tuple[str, str] = ("ID scores", "OOD scores")
) -> Counts:
    """Sort both sets once and count the samples at each distinct score.

    Args:
        id_scores: Scores of the ID samples, shape (N,).
        ood_scores: Scores of the OOD samples, shape (M,).
        sides: What messages call them.

    Raises:
        OodgridError: If a side is not one-dimensional, numeric, non-empty and finite; the message names the
            side.
    """
    id_sorted = np.sort(numbers(id_scores, sides[0], "N"))
    merged = np.concatenate([id_sorted, np.sort(numbers(ood_scores, sides[1], "N"))])
    order = np.argsort(merged, kind="stable")  # a stable sort merges two sorted runs in linear time
    ascending = merged[order]
    ends = np.flatnonzero(np.append(ascending[1:] != ascending[:-1], True))
    id_up_to = np.cumsum(order < id_sorted.size)[ends]
    id_counts = np.diff(id_up_to, prepend=0)
    return Counts(ascending[ends], id_counts, np.diff(ends, prepend=-1) - id_counts)


def auroc(counts: Counts) -> float:
    """Return the share of (ID, OOD) pairs in which the ID score is the higher one; a tie counts half.

    The Mann-Whitney form of the area under the ROC curve (Hanley & McNeil 1982), summed in integers.
    """
    id_above = counts.n_id - counts.id_up_to
    half_wins = np.sum(counts.ood_counts * (2 * id_above + counts.id_counts))
    return int(half_wins) / (2 * counts.n_id * counts.n_ood)


def id_threshold_cell(counts: Counts, recall: Fraction = RECALL) -> int:
    """Return the index of the ID value whose ID recall (share at or above) is nearest the one asked; ties: higher."""
    gap = np.abs(recall.denominator * counts.id_from - recall.numerator * counts.n_id)
    gap[counts.id_counts == 0] = np.iinfo(gap.dtype).max
    return int(np.argmin(gap))  # the first minimum is the lowest threshold, hence the higher recall


def ood_threshold_cell(counts: Counts, recall: Fraction = RECALL) -> int:
    """Return the index of the lowest value that has at least the asked share of the OOD samples at or below it."""
    return int(np.argmax(recall.denominator * counts.ood_up_to >= recall.numerator * counts.n_ood))


def fpr_id_pos(counts: Counts, recall: Fraction = RECALL) -> float:
    """Return the share of OOD at or above the threshold with the ID recall nearest to `recall` (ID is positive).

    Thresholds are the distinct ID scores, and of two equally near recalls the higher one is taken: the rule
    of Hendrycks & Gimpel (2017), in which no OOD sample moves the threshold. `fpr95_id_pos_mcm` is what the
    code of MCM and its successors makes of it.
    """
    return int(counts.ood_from[id_threshold_cell(counts, recall)]) / counts.n_ood


def fpr95_id_pos(counts: Counts) -> float:
    """Return `fpr_id_pos` at an ID recall of .95."""
    return fpr_id_pos(counts)


def fpr95_id_pos_mcm(counts: Counts) -> float:
    """Return `fpr95_id_pos` as the function `fpr_and_fdr_at_recall` computes it, for comparison with papers.

    MCM (Ming et al. 2022), GL-MCM, LoCoOp and NegLabel share that function. It differs in two ways: thresholds
    are the distinct scores of both sets, and of equally near recalls it takes the lowest threshold, so that the OOD
    samples down to the next lower ID score count as well; and it compares recalls as floats, in which .9 is nearer
    to .95 than 1 is. Equal to its result bit by bit.
    """
    lowest_id = int(np.argmax(counts.id_counts > 0))  # recall is 1 from here down; that code looks no further
    recalls = counts.id_from[lowest_id:] / counts.n_id
    cell = lowest_id + int(np.argmin(np.abs(recalls - 0.95)))
    return int(counts.ood_from[cell]) / counts.n_ood


def fpr_ood_pos(counts: Counts, recall: Fraction = RECALL) -> float:
    """Return the share of ID flagged at the first threshold that catches `recall` of the OOD (OOD is positive).

    Thresholds rise from the lowest score, and a sample at or below the threshold is flagged as OOD: the
    convention of OpenOOD v1.5 (Zhang et al. 2023) and pytorch-ood (Kirchheim et al. 2022).
    """
    return int(counts.id_up_to[ood_threshold_cell(counts, recall)]) / counts.n_id


def fpr95_ood_pos(counts: Counts) -> float:
    """Return `fpr_ood_pos` at an OOD recall of .95."""
    return fpr_ood_pos(counts)


def aupr_in(counts: Counts) -> float:
    """Return the average precision with ID as the positive class, samples ranked from the highest score down.

    The sum of (recall gained) * precision over distinct thresholds, without interpolation, as scikit-learn's
    `average_precision_score` and the MCM line of papers have it. OpenOOD joins the same points by straight lines
    (a trapezoid), which promises more where scores tie.
    """
    return _average_precision(counts.id_counts, counts.id_from, counts.ood_from)


def aupr_out(counts: Counts) -> float:
    """Return the average precision with OOD as the positive class, ranked from the lowest score up."""
    return _average_precision(counts.ood_counts, counts.ood_up_to, counts.id_up_to)


def aupr_in_balanced(counts: Counts) -> float:
    """Return `aupr_in` at prevalence one half: precision is TPR / (TPR + FPR), whatever the sizes of the sets.

    The average precision of a detector rises with the share of positives, so that of one ID:OOD ratio compares with no
    other. This one does, and is what `aupr_in` tends to for sets of equal size.
    """
    return _average_precision(counts.id_counts, counts.id_from / counts.n_id, counts.ood_from / counts.n_ood)


def aupr_out_balanced(counts: Counts) -> float:
    """Return `aupr_out` at prevalence one half."""
    return _average_precision(counts.ood_counts, counts.ood_up_to / counts.n_ood, counts.id_up_to / counts.n_id)


def _average_precision(gained: NDArray, true_positives: NDArray, false_positives: NDArray) -> float:
    """Sum precision weighted by the positives gained at each threshold, shapes (U,)."""
    precision = true_positives / (true_positives + false_positives)
    return float(np.sum(gained * precision) / np.sum(gained))


def tied(counts: Counts) -> float:
    """Return the share of (ID, OOD) pairs with equal scores, which count half in the AUROC."""
    return int(np.sum(counts.id_counts * counts.ood_counts)) / (counts.n_id * counts.n_ood)


def metrics_from_counts(counts: Counts) -> dict[str, float]:
    """Return every detection metric of sorted counts, by its column name in metrics.parquet."""
    return {
        "n_id": counts.n_id,
        "n_ood": counts.n_ood,
        "auroc": auroc(counts),
        "fpr95_id_pos": fpr95_id_pos(counts),
        "fpr95_id_pos_mcm": fpr95_id_pos_mcm(counts),
        "fpr95_ood_pos": fpr95_ood_pos(counts),
        "aupr_in": aupr_in(counts),
        "aupr_out": aupr_out(counts),
        "aupr_in_balanced": aupr_in_balanced(counts),
        "aupr_out_balanced": aupr_out_balanced(counts),
        "tied": tied(counts),
    }


def detection_metrics(id_scores: ArrayLike, ood_scores: ArrayLike) -> dict[str, float]:
    """Return every detection metric of a pair of sets, by its column name in metrics.parquet.

    Args:
        id_scores: Scores of the ID samples, higher for more in-distribution, shape (N,).
        ood_scores: Scores of the OOD samples, shape (M,).

    Returns:
        `n_id`, `n_ood` and, as fractions, `RATES`.

    Raises:
        OodgridError: If a side is not one-dimensional, numeric, non-empty and finite; the message names the
            side.
    """
    return metrics_from_counts(count_scores(id_scores, ood_scores))
