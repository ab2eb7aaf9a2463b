"""CSP: NegLabel with a conjugated semantic pool."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import LabelList
from oodgrid.score.mining import Fraction, Seed, in_groups, most_unlike
from oodgrid.score.scores.neglabel import grouped_share


@score(
    title="CSP",
    needs=("features", "logits", "class_texts"),
    family="vision-language",
    paper="Chen et al. 2024 (NeurIPS); github.com/MengyuanChen21/NeurIPS2024-CSP (multi_modal.py)",
)
def csp(
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
    closest: float = 0.95,
) -> np.ndarray:
    """CSP: NegLabel's score, with candidates excluded whose cosine with any class is above `closest`.

    What makes it CSP is its list: nouns, and adjectives joined to superclasses ("{adjective} creature"), the means of
    several templates. The published code ranks what it excludes last; here it is left out, whatever `keep` is.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        class_texts: Shape (K, D), normalised.
        labels: Candidates, the pool.
        T: Temperature on cosines.
        groups: Number of groups, at most one per candidate.
        seed: Of the grouping.
        quantile: Of a candidate's cosines with the classes, by which it is mined.
        keep: Share of every kind of candidate that is mined.
        closest: The largest cosine with a class that a candidate may have.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: No candidate is left.
    """
    chosen = most_unlike(labels, class_texts, quantile=quantile, keep=keep, closest=closest)
    negatives, groups = in_groups(labels, chosen, groups=groups, seed=seed)
    return grouped_share(features, logits, negatives, groups=groups, T=T)
