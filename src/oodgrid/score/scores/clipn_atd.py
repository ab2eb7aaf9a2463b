"""CLIPN's score of agreeing to differ."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.counts import counted
from oodgrid.registry import score
from oodgrid.score.contract import LabelList, Skip, TextList, probabilities, product


@score(
    title="CLIPN-ATD",
    needs=("features", "logits"),
    family="vision-language",
    paper="Wang et al. 2023 (ICCV); github.com/xmed-lab/CLIPN (src/zero_shot_infer.py)",
)
def clipn_atd(features: np.ndarray, logits: np.ndarray, *, labels: LabelList, T: PositiveFloat = 0.01) -> np.ndarray:
    """CLIPN, agreeing to differ: sum_k p_k yes_k of p = softmax(s / T) and yes_k = sigmoid((s_k - n_k) / T).

    n_k is the cosine with the "no" text of class k. CLIPN's come from a text tower of its own, taught to say no; those
    of CLIP's own tower are no reproduction of it.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        labels: One "no" text per class, in the order of the classes.
        T: Temperature on cosines.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: There is not one "no" text per class.
    """
    return (probabilities(logits, T=T) * yes(features, logits, labels, T=T)).sum(axis=1)


def yes(features: np.ndarray, logits: np.ndarray, no_texts: TextList, *, T: float) -> np.ndarray:
    """Return how much of the softmax of a class and its "no" is the class's, shape (N, K).

    Raises:
        Skip: There is not one "no" text per class.
    """
    from scipy.special import expit

    if len(no_texts.names) != logits.shape[1]:
        raise Skip(
            f"CLIPN needs a no text for each of the {counted(logits.shape[1], 'class', 'classes')}, the list "
            f"has {len(no_texts.names)}"
        )
    return expit((logits - product(features, no_texts.features)) / T)
