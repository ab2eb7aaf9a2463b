"""NegLabel: the classes' share of a softmax over classes and negative texts."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import LabelList
from oodgrid.score.mining import Fraction, Seed, in_groups, most_unlike
from oodgrid.score.products import Block, on_device, product
from oodgrid.score.shares import id_share


@score(
    title="NegLabel",
    needs=("features", "logits", "class_texts"),
    family="vision-language",
    paper="Jiang et al. 2024 (ICLR); github.com/XueJiang16/NegLabel (clip_ood.py)",
)
def neglabel(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    *,
    labels: LabelList,
    T: PositiveFloat = 0.01,
    groups: PositiveInt = 100,
    seed: Seed = 0,
    quantile: Fraction = 0.95,
    keep: Fraction = 0.15,
) -> np.ndarray:
    """NegLabel: the mean over groups of negative texts of sum_k exp(s_k / T) / (the same + sum_j exp(n_j / T)).

    s are the cosines with the classes, n those with the texts of one group. With one group this is
    sigmoid(logsumexp(s / T) - logsumexp(n / T)). The texts are mined as `oodgrid.score.mining.most_unlike` says; those
    that fill no group are left out, as in the code of record.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        class_texts: Shape (K, D), normalised; published for "the nice {}".
        labels: Candidates, WordNet's nouns and adjectives in the paper.
        T: Temperature on cosines.
        groups: Number of groups, at most one per candidate.
        seed: Of the grouping.
        quantile: Of a candidate's cosines with the classes, by which it is mined.
        keep: Share of every kind of candidate that is mined; 1 for a list that is already selected.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: No candidate is left.
    """
    chosen = most_unlike(labels, class_texts, quantile=quantile, keep=keep)
    negatives, groups = in_groups(labels, chosen, groups=groups, seed=seed)
    return grouped_share(features, logits, negatives, groups=groups, T=T)


def grouped_share(
    features: np.ndarray, logits: np.ndarray, negatives: np.ndarray, *, groups: int, T: float, mean: bool = False
) -> np.ndarray:
    """Return the classes' share, shape (N,), the mean over groups of negative texts (groups n, D): see `id_share`."""

    def share(rows: Block, of_classes: Block) -> Block:
        return id_share(of_classes, product(rows, negatives), groups=groups, T=T, mean=mean)

    return on_device(share, features, logits, width=max(len(negatives), logits.shape[1]), rows=1024)
