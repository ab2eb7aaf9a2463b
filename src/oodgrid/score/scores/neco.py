"""NECO: how much of a feature lies in the principal space, as neural collapse has it."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import ROUNDING, Bank
from oodgrid.score.subspaces import principal_projection


@score(
    title="NECO",
    needs=("features", "logits", "bank"),
    family="features",
    paper="Ben Ammar et al. 2024 (ICLR), equation 6; gitlab.com/drti/neco",
    adapted="made for features trained to collapse, and trained with these logits",
)
def neco(features: np.ndarray, logits: np.ndarray, bank: Bank, *, dim: PositiveInt | None = None) -> np.ndarray:
    """Neural collapse: ||P h|| / ||h|| · max_k s_k, h the standardised feature, P its first `dim` principal axes.

    Mean, deviation of every dimension, and axes are of the bank. With the largest logit, as published for
    transformers. A negative largest logit turns the ratio around, as in the published code.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale; only their largest counts.
        bank: The shots; their labels do not count. Fewer than D + 1 of them span fewer axes than D.
        dim: Number of axes; by default 100, published for D = 768, but at most D / 2, with which the ratio still says
            something, and at most what the bank spans.

    Returns:
        Shape (N,), between 0 and max_k s_k.

    Raises:
        Skip: The bank spans fewer axes than `dim`, or none.
    """
    scale, axes = principal_projection(bank, dim=dim)
    standard = (features - bank.centre) / scale
    kept = np.linalg.norm(standard @ axes, axis=1)
    return kept / np.linalg.norm(standard, axis=1).clip(min=ROUNDING) * logits.max(axis=1)
