"""ORA: relative angles to decision boundaries."""

from __future__ import annotations

from typing import Literal

import numpy as np

from oodgrid.registry import score
from oodgrid.score.contract import ROUNDING, Bank, Head, normalise
from oodgrid.score.fitted import inverse_gaps

Boundary = Literal["plane", "sphere"]


@score(
    title="ORA",
    needs=("features", "logits", "head", "bank"),
    family="features",
    paper="Demirel et al. 2025 (NeurIPS), Out-of-distribution detection with relative angles, arXiv 2410.04525 (there "
    "LAFO); github.com/berkerdemirel/ORA-OOD-Detection-with-Relative-Angles 4a4b3d6 (util/ood_methods.py)",
    adapted="mu is of the shots: the authors' scripts take it from the labelled ID test samples that they judge",
)
def ora(
    features: np.ndarray, logits: np.ndarray, head: Head, bank: Bank, *, boundary: Boundary = "plane"
) -> np.ndarray:
    """Relative angles: the largest angle, over c, at mu between x and its projection on the boundary of y and c, by pi.

    y is the predicted class, the projection x - d n with d = (s_y - s_c) / ||w_y - w_c|| and n = (w_y - w_c) /
    ||w_y - w_c||, mu the mean of the class means. Classes with the weights of y have no boundary with it.

    Args:
        features: Shape (N, D), normalised.
        logits: Shape (N, K), what the head makes of the features.
        head: Of at least two classes.
        bank: The shots, of whose class means mu is the mean.
        boundary: "plane"; or "sphere": projections are normalised, and class means too, as in the authors' script
            for zero-shot CLIP (run_imagenet_clip_zero_shot.py).

    Returns:
        Shape (N,), in [0, 1].

    Raises:
        Skip: A class has no boundary with any other.
    """
    centre = (bank.means if boundary == "plane" else normalise(bank.means)).mean(axis=0)
    rows, top = np.arange(len(logits)), logits.argmax(axis=1)
    inverse = inverse_gaps(head)[top]

    def between(values: np.ndarray) -> np.ndarray:
        """Return what belongs to n, (v_y - v_c) / ||w_y - w_c||, shape (N, K), of values (N, K)."""
        return (values[rows, top, None] - values) * inverse

    distance, centred = between(logits), features - centre
    along = between(centred @ head.weights.T)  # (x - mu) · n
    squared = np.einsum("nd,nd->n", centred, centred)[:, None]
    if boundary == "plane":  # sine and cosine, both times the lengths of both legs
        opposite = distance * np.sqrt((squared - along**2).clip(min=0))
        return np.arctan2(opposite, squared - distance * along).max(axis=1) / np.pi
    aside = between(head.weights @ centre + np.zeros_like(logits))  # mu · n
    onto = np.einsum("nd,nd->n", features, features)[:, None] - 2 * distance * (along + aside) + distance**2
    length = np.sqrt(onto).clip(min=ROUNDING)
    across = ((centred @ centre + squared[:, 0])[:, None] - distance * along) / length - (centred @ centre)[:, None]
    towards = onto / length**2 - 2 * ((features @ centre)[:, None] - distance * aside) / length + centre @ centre
    cosines = across / np.sqrt(squared * towards).clip(min=ROUNDING)
    return np.arccos(np.where(inverse > 0, cosines, 1).clip(-1, 1)).max(axis=1) / np.pi
