"""GradNorm: size of the gradient towards a uniform prediction."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Head, probabilities


@score(
    title="GradNorm",
    needs=("features", "logits", "head"),
    family="activations",
    paper="Huang et al. 2021 (NeurIPS), GradNorm, U · V; github.com/deeplearning-wisc/gradnorm_ood (test_ood.py)",
    adapted="made for features of any norm, half of the score; L2-normalised ones differ little in their L1 norm",
)
def gradnorm(features: np.ndarray, logits: np.ndarray, head: Head, *, T: PositiveFloat = 0.01) -> np.ndarray:
    """GradNorm: ||x||_1 · sum_k |p_k - 1/K| of p = softmax(s / T).

    That is the L1 norm of the gradient, by the weights W / T of the last layer, of the cross entropy between a uniform
    target and p. (The authors' code sums where the paper takes the mean over the classes: K times as much.)

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        head: The classifier: a last layer must be there.
        T: Temperature on cosines; .01 is the classifier's own softmax.

    Returns:
        Shape (N,), in [0, 2 sqrt D).
    """
    uniform = 1 / len(head.weights)
    return np.abs(features).sum(axis=1) * np.abs(probabilities(logits, T=T) - uniform).sum(axis=1)
