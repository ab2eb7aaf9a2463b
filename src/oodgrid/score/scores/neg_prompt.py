"""NegPrompt's score: MCM among positive and negative prompts."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score


@score(
    title="NegPrompt",
    needs=("logits", "negative_logits"),
    family="vision-language",
    paper="Li et al. 2024 (CVPR), equation 8; github.com/mala-lab/NegPrompt (open_score msp)",
)
def neg_prompt(logits: np.ndarray, negative_logits: np.ndarray, *, T: PositiveFloat = 1.0) -> np.ndarray:
    """NegPrompt: the largest chance of a positive prompt, in the softmax over positive and negative prompts together.

    Args:
        logits: Shape (N, K), on the cosine scale.
        negative_logits: Shape (N, K, n), likewise; with n = 0 this is MCM.
        T: Temperature on cosines, 1 as in the code of record.

    Returns:
        Shape (N,), in (0, 1).
    """
    from scipy.special import softmax

    together = np.concatenate([logits[:, :, None], negative_logits], axis=2)
    return softmax(together / T, axis=(1, 2))[:, :, 0].max(axis=1)
