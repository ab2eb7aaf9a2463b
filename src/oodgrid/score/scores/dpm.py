"""DPM: confidence by the texts, less the divergence from the typical predictions of the classes' images."""

from __future__ import annotations

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat

from oodgrid.registry import score
from oodgrid.score.contract import Bank
from oodgrid.score.patterns import Confidence, confidences, divergences, fusion, log_patterns


@score(
    title="DPM",
    needs=("logits", "bank", "val|bank"),
    bank_logits=True,
    family="vision-language",
    paper="Zhang et al. 2024 (ECCV); github.com/HAIV-Lab/DPM; github.com/HAIV-Lab/openhaiv (ood/dpm.py)",
    adapted="scale and weight of the divergence from ID samples, not from test scores as released; of the method's "
    "logits, without DPM-F's sums over patches and DPM-T's trained projections",
)
def dpm(
    logits: np.ndarray,
    bank: Bank,
    reference: Bank,
    *,
    text: Confidence = "mcm",
    T: PositiveFloat = 1 / 30,
    T_visual: PositiveFloat = 1 / 6,
    beta: NonNegativeFloat | None = None,
) -> np.ndarray:
    """Dual-pattern matching: max_k softmax(s / T)_k - beta a min_c KL(softmax(s / T_visual) || d_c).

    d_c is the mean softmax(s / T_visual) of the shots of class c: this takes their labels. a maps the range of the
    divergences of labelled ID samples to that of their confidences, and beta, unless it is set, is what best tells
    these samples from themselves with their own class left out (`oodgrid.score.patterns`). The released DPM-T has
    logits 30 s and divides by 5 for the patterns; the released DPM-F takes max_k s_k and T_visual = 1.

    Args:
        logits: Shape (N, K), on the cosine scale.
        bank: The labelled shots, with logits of the same method.
        reference: Validation samples; where there are none the shots again, at least 2 a class.
        text: "mcm", or "max_logit", max_k s_k, of which T is of no effect.
        T: Temperature of the confidence on cosines.
        T_visual: Temperature of the patterns on cosines.
        beta: Weight of the divergence, 0 to leave it out; found in 0, 0.1, … 10 where none is set.

    Returns:
        Shape (N,).

    Raises:
        Skip: The method leaves no logits of its shots, a class has one shot and there are no validation samples, there
            is one class, or two and `beta` is not set, or all labelled samples predict alike.
    """
    scale, beta = fusion(bank, reference, by=text, T=T, T_visual=T_visual, beta=beta)
    distances = divergences(logits, log_patterns(bank, T=T_visual), T=T_visual)
    return confidences(logits, by=text, T=T) - beta * scale * distances.min(axis=1)
