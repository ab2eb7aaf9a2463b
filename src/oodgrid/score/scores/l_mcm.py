"""L-MCM: maximum concept matching of the patches."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import LocalLogits, by_rows
from oodgrid.score.products import Block, highest
from oodgrid.score.shares import largest_share
from oodgrid.score.sharing import shared


@score(
    title="L-MCM",
    needs=("local_logits",),
    family="vision-language",
    paper="Miyai et al. 2025 (IJCV); github.com/AtsuMiyai/GL-MCM (utils/detection_util.py)",
)
def l_mcm(local_logits: np.ndarray, *, T: PositiveFloat = 1.0) -> np.ndarray:
    """Local MCM: max over patches i and classes k of softmax(s_i / T)_k, of the patches' cosines s_i.

    Args:
        local_logits: Shape (N, P, K), on the cosine scale.
        T: Temperature on cosines.

    Returns:
        Shape (N,), in [1/K, 1].
    """
    return local_matching(local_logits, T=T)


@shared
def local_matching(local_logits: np.ndarray | LocalLogits, *, T: float) -> np.ndarray:
    """Return max_i max_k softmax(s_i / T)_k, shape (N,) of local logits (N, P, K)."""

    def largest(block: Block) -> Block:
        return highest(largest_share(block, T=T))[:, 0]

    if isinstance(local_logits, LocalLogits):
        return local_logits.by_rows(largest)
    return by_rows(largest, local_logits, rows=16)
