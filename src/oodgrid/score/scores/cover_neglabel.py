"""CoVer of NegLabel: the classes' share of a softmax, under corruptions of the image."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.corruptions import RECOMMENDED, Corruptions
from oodgrid.registry import score
from oodgrid.score.contract import LabelList
from oodgrid.score.mining import Fraction, Seed
from oodgrid.score.scores.neglabel import neglabel


@score(
    title="CoVer (NegLabel)",
    needs=("features", "logits", "corrupted_features", "corrupted_logits", "class_texts"),
    family="vision-language",
    paper="Zhang et al. 2024 (NeurIPS), Table 3, of NegLabel, Jiang et al. 2024 (ICLR); github.com/tmlr-group/CoVer",
)
def cover_neglabel(
    features: np.ndarray,
    logits: np.ndarray,
    corrupted_features: np.ndarray,
    corrupted_logits: np.ndarray,
    class_texts: np.ndarray,
    *,
    labels: LabelList,
    T: PositiveFloat = 0.01,
    groups: PositiveInt = 100,
    seed: Seed = 0,
    quantile: Fraction = 0.95,
    keep: Fraction = 0.15,
    corruptions: Corruptions = RECOMMENDED,
    corruption_seed: Seed = 0,
) -> np.ndarray:
    """CoVer of NegLabel: the mean of NegLabel of an image and of V corrupted versions of it.

    With no version it is NegLabel. The paper has it in its Table 3; the released code has no NegLabel.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        corrupted_features: Shape (N, V, D), normalised.
        corrupted_logits: Shape (N, V, K), on the cosine scale.
        class_texts: Shape (K, D), normalised.
        labels: As of `neglabel`.
        T: Temperature on cosines.
        groups: As of `neglabel`.
        seed: Of the grouping.
        quantile: As of `neglabel`.
        keep: As of `neglabel`.
        corruptions: Which corruptions, each with its severity, as fog-1.
        corruption_seed: Of their noise.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: No candidate is left.
    """
    versions = zip(np.moveaxis(corrupted_features, 1, 0), np.moveaxis(corrupted_logits, 1, 0), strict=True)
    values = [
        neglabel(
            some, their_logits, class_texts, labels=labels, T=T, groups=groups, seed=seed, quantile=quantile, keep=keep
        )
        for some, their_logits in ((features, logits), *versions)
    ]
    return np.mean(values, axis=0)
