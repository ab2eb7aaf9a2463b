"""InterNeg: NegLabel with negative texts that labelled images choose, not the texts of the classes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Bank, LabelList
from oodgrid.score.mining import Seed, in_groups, inter_modal
from oodgrid.score.scores.neglabel import grouped_share


@score(
    title="InterNeg",
    needs=("features", "logits", "class_texts", "bank"),
    family="vision-language",
    paper="Xu et al. 2026 (CVPR); github.com/ZhikangXu0112/InterNeg (clip_fixed_ood_prompt.py); "
    "group: mean of TINS (2026, arXiv 2605.10756); github.com/zxk1212/tins (eval_tins_w_init.py)",
    adapted="the static negatives alone, without texts inverted from the images of the test stream (TINS': tins)",
)
def interneg(
    features: np.ndarray,
    logits: np.ndarray,
    class_texts: np.ndarray,
    bank: Bank,
    *,
    labels: LabelList,
    T: PositiveFloat = 0.01,
    groups: PositiveInt = 5,
    seed: Seed = 0,
    count: PositiveInt = 2000,
    group: Literal["sum", "mean"] = "sum",
) -> np.ndarray:
    """InterNeg, static: NegLabel's score of texts that lie farther from the shots of every class than its own text.

    The mean over groups of sum_k exp(s_k / T) / (the same + sum_j exp(n_j / T)), n the cosines with the texts of one
    group, which are mined as `oodgrid.score.mining.inter_modal` says: this takes labels of shots.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        class_texts: Shape (K, D), normalised; published for "The nice {}.".
        bank: The labelled shots, at least one a class; 16 in the papers.
        labels: Candidates, WordNet's nouns ("The nice {}.") and adjectives ("This is a {} photo.") in the papers.
        T: Temperature on cosines.
        groups: Number of groups, at most one per candidate.
        seed: Of the grouping.
        count: How many texts are mined; all that survive where these are fewer.
        group: "sum" of a group's exponentials, as InterNeg has it, or K times their "mean", as TINS.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: A class has no shot, or no candidate survives.
    """
    chosen = inter_modal(labels, class_texts, bank, count=count)
    negatives, groups = in_groups(labels, chosen, groups=groups, seed=seed)
    return grouped_share(features, logits, negatives, groups=groups, T=T, mean=group == "mean")
