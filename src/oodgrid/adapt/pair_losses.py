"""Losses of pairs of an image and a text, matched (ID) or labelled OOD: hinges on cosines, and COOD's own.

In all of them similarities s_ij are cosines of image i with text j, and m is the margin, by which matched pairs are to
be above what does not match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def hinge(
    images: torch.Tensor, texts: torch.Tensor, labels: torch.Tensor, is_ood: torch.Tensor, margin: float
) -> torch.Tensor:
    """Return WOOD's contrastive loss, reconstructed: hinges put matched pairs above mismatched and above OOD pairs.

    mean over ID i, ID j of another class of relu(m + s_ij - s_ii) + relu(m + s_ji - s_ii)
    + mean over ID i, OOD o of relu(m + s_oo - s_ii).

    Args:
        images: Shape (b, D), unit norm.
        texts: Shape (b, D), unit norm.
        labels: Shape (b,): classes of the ID pairs; of OOD pairs they do not matter.
        is_ood: Shape (b,), bool.
        margin: The margin.

    Returns:
        A number, 0 where all margins are kept.
    """
    similarities = images @ texts.T
    own = similarities.diagonal()
    is_id = ~is_ood
    others = is_id[:, None] & is_id & (labels[:, None] != labels)
    above = (margin + similarities - own[:, None]).relu() + (margin + similarities.T - own[:, None]).relu()
    apart = (margin + own[is_ood] - own[is_id][:, None]).relu()
    return _mean(above[others], own) + _mean(apart, own)


def cood(images: torch.Tensor, texts: torch.Tensor, is_ood: torch.Tensor, margin: float) -> torch.Tensor:
    """Return COOD's contrastive loss (github.com/yanyanfu/COOD c54de12, model/loss.py, mode margin), term by term.

    Similarities are clamped at 0. With d_i = s_ii, of OOD pairs 2 m:
    sum over all i ≠ j of relu(m + s_ij - d_j) + relu(m + s_ij - d_i), divided by b².
    So the similarity of an OOD pair's own two sides is in no term; all others of its row and column are pushed below m.

    Args: as of `hinge`.
    """
    import torch

    similarities = (images @ texts.T).clamp(min=0)
    own = torch.where(is_ood, 2 * margin, similarities.diagonal())
    itself = torch.eye(len(own), dtype=torch.bool, device=own.device)
    of_rows = (margin + similarities - own[:, None]).relu().masked_fill(itself, 0)
    of_columns = (margin + similarities - own).relu().masked_fill(itself, 0)
    return (of_rows.sum() + of_columns.sum()) / similarities.numel()


def _mean(values: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """Return the mean of some values; where there are none a 0 that hangs on a tensor, so that it has a gradient."""
    return values.mean() if values.numel() else of.sum() * 0
