"""CoVer: a score under corruptions of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from pydantic import PositiveFloat

from oodgrid.corruptions import RECOMMENDED, Corruptions
from oodgrid.registry import score
from oodgrid.score.mining import Seed
from oodgrid.score.scores.energy import energy
from oodgrid.score.scores.entropy import entropy
from oodgrid.score.scores.max_logit import max_logit
from oodgrid.score.scores.mcm import mcm
from oodgrid.score.scores.msp import msp
from oodgrid.score.scores.variance import variance

Base = Literal["mcm", "msp", "energy", "max_logit", "entropy", "variance"]
BASES: dict[str, Callable[..., np.ndarray]] = {
    "mcm": mcm, "msp": msp, "energy": energy, "max_logit": max_logit, "entropy": entropy, "variance": variance,
}  # fmt: skip


@score(
    title="CoVer",
    needs=("logits", "corrupted_logits"),
    family="vision-language",
    paper="Zhang et al. 2024 (NeurIPS); github.com/tmlr-group/CoVer (utils/detection_util.py)",
)
def cover(
    logits: np.ndarray,
    corrupted_logits: np.ndarray,
    *,
    base: Base = "mcm",
    T: PositiveFloat | None = None,
    corruptions: Corruptions = RECOMMENDED,
    corruption_seed: Seed = 0,
) -> np.ndarray:
    """CoVer: the mean of a score of an image and of V corrupted versions of it.

    With no version it is the score itself. Published for ImageNet-C's corruptions; which of them, and how severe, its
    authors choose by SVHN as OOD set; the default is what their code recommends.

    Args:
        logits: Shape (N, K), on the cosine scale.
        corrupted_logits: Shape (N, V, K), likewise.
        base: The score.
        T: Its temperature on cosines; default: that of the score itself, 1 of MCM. Of no effect on max_logit.
        corruptions: Which corruptions, each with its severity, as fog-1.
        corruption_seed: Of their noise.

    Returns:
        Shape (N,).
    """
    versions = np.moveaxis(corrupted_logits, 1, 0)
    return np.mean([_of_logits(base, each, T) for each in (logits, *versions)], axis=0)


def _of_logits(base: Base, logits: np.ndarray, T: float | None) -> np.ndarray:
    return BASES[base](logits) if T is None or base == "max_logit" else BASES[base](logits, T=T)
