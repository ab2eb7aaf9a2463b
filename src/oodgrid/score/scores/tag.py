"""TAG: a score under prompts with shuffled words."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import product
from oodgrid.score.scores.energy import energy
from oodgrid.score.scores.gen import gen
from oodgrid.score.scores.max_logit import max_logit
from oodgrid.score.scores.msp import msp


@score(
    title="TAG",
    needs=("features", "prompt_variants"),
    family="vision-language",
    paper="Liu & Zach 2024 (ECCV); github.com/XixiLiu95/TAG (utils.py)",
)
def tag(
    features: np.ndarray,
    prompt_variants: np.ndarray,
    *,
    base: Literal["msp", "energy", "max_logit", "gen"] = "msp",
    T: PositiveFloat = 0.01,
) -> np.ndarray:
    """Text prompt augmentation: the mean, over V prompts with their words shuffled, of a score of zero-shot logits.

    It looks at CLIP's text alone, whatever a method learned, and so does not depend on the method. The published
    energy and largest logit are those of s / T, here of s: the same ranking.

    Args:
        features: Shape (N, D), normalised.
        prompt_variants: Shape (V, K, D), normalised; V = 10 in the paper.
        base: The score.
        T: Its temperature on cosines; of no effect on max_logit.

    Returns:
        Shape (N,).
    """
    with_temperature = {"msp": msp, "energy": energy, "gen": gen}
    of_logits = partial(with_temperature[base], T=T) if base in with_temperature else max_logit
    return sum(of_logits(product(features, texts)) for texts in prompt_variants) / len(prompt_variants)
