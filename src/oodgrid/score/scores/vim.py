"""ViM: the residual as a virtual logit."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from oodgrid.registry import score
from oodgrid.score.contract import Bank, Head, log_normaliser
from oodgrid.score.subspaces import residual_norms, virtual_weight


@score(
    title="ViM",
    needs=("features", "logits", "head", "bank"),
    family="features",
    paper="Wang et al. 2022 (CVPR), section 4; github.com/haoqiwang/vim",
    adapted="energy of cosines at T = .01; principal space and alpha of the shots",
)
def vim(
    features: np.ndarray,
    logits: np.ndarray,
    head: Head,
    bank: Bank,
    *,
    dim: PositiveInt | None = None,
    T: PositiveFloat = 0.01,
) -> np.ndarray:
    """Virtual-logit matching: T logsumexp(s / T) - alpha ||(x - u) outside the principal space||.

    u = -W⁺ b, which is 0 without bias; the principal space as in `residual`, about u. alpha makes the mean virtual
    logit of the bank equal to its mean largest logit. On cosines at T = .01 the score is one hundredth of that of
    CLIP's 100 s: the same ranking.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), on the cosine scale.
        head: Makes u.
        bank: The shots, with the logits of the same method; their labels do not count. Residuals of fewer than D
            shots are smaller than those of other images, as their principal space was made of them: alpha is large.
        dim: Dimension of the principal space; its default is that of `residual`.
        T: Temperature on cosines.

    Returns:
        Shape (N,).

    Raises:
        Skip: As `residual`; or the bank has no residuals; or the method leaves no logits of its shots.
    """
    about = (head,) if head.bias.any() else ()  # without bias the residuals are those of every method
    alpha = virtual_weight(bank, *about, dim=dim)
    return log_normaliser(logits, T=T) - alpha * residual_norms(features, bank, *about, dim=dim)
