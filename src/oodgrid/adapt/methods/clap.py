"""CLAP: ZS-LP held at the text prototypes, each class as strongly as zero-shot CLIP knows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oodgrid.adapt.contract import FitData, check_every_class, normalise
from oodgrid.adapt.methods.zs_lp import ZsLp
from oodgrid.registry import method


@method(
    title="CLAP",
    look="sky < : hollow",
    leaves="prototypes",
    needs=("text", "shots"),
    paper="Silva-Rodríguez et al. 2024 (CVPR), A Closer Look at the Few-Shot Adaptation of Large Vision-Language "
    "Models, equations 7-11 (CLAP); github.com/jusiro/CLAP",
)
@dataclass(frozen=True)
class Clap(ZsLp):
    """CLAP: ZS-LP plus the mean over classes of λ_k |w_k - t_k|².

    λ_k is the mean, over the shots of class k, of the softmax of 100 cos(x, t_k) at k: what zero-shot CLIP gives the
    right class. It is fixed (the code's `l2`, the paper's main results). w_k and t_k are not normalised, so the
    length of the text embeddings matters, as in the code. With all λ_k = 0 this is ZS-LP. Recipe: that of ZS-LP.

    Scale: cosines. Deviations: those of ZS-LP; λ_k is taken from the shots' mean over their cached `views`.
    """

    def pull(self, data: FitData) -> np.ndarray:
        """Return λ, shape (K,): how sure zero-shot CLIP is of each class.

        Raises:
            Skip: A class has no shot.
        """
        counts = check_every_class(data.train_labels, data.classes)
        views = data.train[:, None] if data.train_views is None else data.train_views
        logits = 100 * normalise(views).astype(np.float64) @ normalise(data.text.embeddings.mean(axis=0)).T
        probabilities = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        at_label = probabilities[np.arange(len(views)), :, data.train_labels].mean(axis=1)  # over views
        return (np.bincount(data.train_labels, weights=at_label, minlength=data.classes) / counts).astype(np.float32)
