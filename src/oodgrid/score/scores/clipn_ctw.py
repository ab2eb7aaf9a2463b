"""CLIPN's score of competing to win."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import LabelList
from oodgrid.score.scores.clipn_atd import yes


@score(
    title="CLIPN-CTW",
    needs=("features", "logits"),
    family="vision-language",
    paper="Wang et al. 2023 (ICCV); github.com/xmed-lab/CLIPN (src/zero_shot_infer.py)",
)
def clipn_ctw(features: np.ndarray, logits: np.ndarray, *, labels: LabelList, T: PositiveFloat = 0.01) -> np.ndarray:
    """CLIPN, competing to win: sigmoid((s_k - n_k) / T) of the predicted class k = argmax_k s_k and its "no" text.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        labels: One "no" text per class, in the order of the classes; see `clipn_atd`.
        T: Temperature on cosines.

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: There is not one "no" text per class.
    """
    predicted = logits.argmax(axis=1)[:, None]
    return np.take_along_axis(yes(features, logits, labels, T=T), predicted, axis=1)[:, 0]
