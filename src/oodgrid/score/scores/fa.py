"""FA's score: maximum concept matching among all prompts, learned and frozen."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import by_rows
from oodgrid.score.shares import largest_share


@score(
    title="FA",
    needs=("logits", "negative_logits"),
    family="vision-language",
    paper="FA (ICCV 2025, arXiv 2507.04511); github.com/0xFAFA/FA at 9cf7f88 (main.py)",
)
def fa(logits: np.ndarray, negative_logits: np.ndarray, *, T: PositiveFloat = 1.0) -> np.ndarray:
    """FA: the largest chance of any prompt, in the softmax over positive and negative prompts together.

    Under the method `fa` the negative prompts are the frozen copies of zero-shot CLIP, and the code of record lets them
    be the largest too; `neg_prompt` looks for it among the positive ones alone.

    Args:
        logits: Shape (N, K), on the cosine scale.
        negative_logits: Shape (N, K, n), likewise; with n = 0 this is MCM.
        T: Temperature on cosines, 1 as in the code of record.

    Returns:
        Shape (N,), in [1 / (K + K n), 1].
    """
    return by_rows(lambda positive, negative: share_of_prompts(positive, negative, T=T), logits, negative_logits)


def share_of_prompts(logits: np.ndarray, negative_logits: np.ndarray, *, T: float) -> np.ndarray:
    """Return the largest entry of the softmax over all prompts, shape (…,) of logits (…, K) and negatives (…, K, n)."""
    together = np.concatenate([logits[..., None], negative_logits], axis=-1)
    return largest_share(together.reshape(*logits.shape[:-1], -1), T=T)
