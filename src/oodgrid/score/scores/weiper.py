"""WeiPer: maximum softmax probability under perturbed weights."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Head
from oodgrid.score.perturbation import ROWS, perturbed_logits
from oodgrid.score.products import Block, on_device
from oodgrid.score.shares import largest_share


@score(
    title="WeiPer",
    needs=("features", "logits", "head"),
    family="activations",
    paper="Granz et al. 2024 (NeurIPS), WeiPer, the score MSP_W; github.com/mgranz/weiper (weiper_kldiv/utils.py)",
    adapted="made for penultimate features of any norm; here on L2-normalised ones, all perturbed alike",
)
def weiper(
    features: np.ndarray,
    logits: np.ndarray,
    head: Head,
    *,
    delta: NonNegativeFloat = 2.0,
    repeats: PositiveInt = 100,
    seed: NonNegativeInt = 0,
    T: PositiveFloat = 0.01,
) -> np.ndarray:
    """WeiPer's MSP: mean_r max_k softmax((W_r x + b) / T)_k, W_rk = W_k + delta ||W_k|| e_rk / ||e_rk||.

    Every e_rk is a Gaussian draw of the seed, the same for all samples and sets; with delta = 0 this is MSP.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), what the head makes of them.
        head: The classifier.
        delta: Length of a perturbation in lengths of its weights; 2 as published for ImageNet and ViT-B/16.
        repeats: How many perturbed heads, 100 as published.
        seed: Of the draws; other numbers of classes or dimensions have other draws.
        T: Temperature on cosines; .01 is the classifier's own softmax.

    Returns:
        Shape (N,), in [1/K, 1].
    """

    def mean_share(rows: Block, of_rows: Block) -> Block:
        heads = perturbed_logits(rows, of_rows, head, delta=delta, repeats=repeats, seed=seed)
        return sum(largest_share(block, T=T) for _, block in heads) / repeats

    return on_device(mean_share, features, logits, width=logits.shape[1], rows=ROWS)
