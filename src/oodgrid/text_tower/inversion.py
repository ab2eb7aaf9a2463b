"""Textual inversion: a token embedding, learned for each image, whose prompt the text tower puts near the image.

Of TINS (2026; arXiv 2605.10756; github.com/zxk1212/tins, `eval_tins_w_init.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from oodgrid import text_tower
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    import torch

    from oodgrid.config import Backbone
    from oodgrid.text_tower import TextTower

TEMPLATE = "a photo of a {}."


class Inversion:
    """The prompts of some words, in which the last token of the word is learned.

    Attributes:
        features: Shape (M, D), float64, normalised: of "a photo of a {}." with each word as it is.
    """

    def __init__(self, tower: TextTower, words: Sequence[str]) -> None:
        import torch

        self._tower, self._gapped = tower, tower.gapped(TEMPLATE, words)
        self._starts = tower.at_gaps(self._gapped)
        with torch.no_grad():
            parts = [
                tower.filled(self._gapped, rows)(self._starts[rows]) for rows in self._in_parts(list(range(len(words))))
            ]
        self.features = _array(torch.cat(parts))

    def of(self, targets: np.ndarray, *, steps: int, lr: float, decay: float) -> np.ndarray:
        """Return the features that are learned, shape (N, D), float64, normalised.

        For each target g, the prompt of the word whose feature f has the largest g · f is taken; the embedding of the
        last token of that word is learned by AdamW on -g · f. Targets are learned by themselves: the loss is a sum over
        them, each has an embedding of its own, and AdamW goes entry by entry. So many at once are one after the other.

        With g = v - weight mean_c mu_c this is TINS' loss of an image v, 1 - f · v + weight mean_c (1 + f · mu_c), but
        for what does not depend on f.

        Args:
            targets: Shape (N, D).
            steps: Of AdamW.
            lr: Learning rate.
            decay: Weight decay of AdamW.
        """
        starts = (targets @ self.features.T).argmax(axis=1).tolist()
        found = np.empty((len(targets), self.features.shape[1]))
        done = 0
        for rows in self._in_parts(starts):
            part = slice(done, done + len(rows))
            found[part] = self._learned(rows, targets[part], steps, lr, decay)
            done += len(rows)
        return found

    def _learned(self, rows: list[int], targets: np.ndarray, steps: int, lr: float, decay: float) -> np.ndarray:
        import torch

        vectors = self._starts[rows].clone().requires_grad_(True)
        wanted = torch.from_numpy(targets).to(vectors)
        features = self._tower.filled(self._gapped, rows)
        optimizer = torch.optim.AdamW([vectors], lr=lr, weight_decay=decay)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            (-(features(vectors) * wanted).sum()).backward()
            optimizer.step()
        with torch.no_grad():
            return _array(features(vectors))

    def _in_parts(self, rows: list[int]) -> list[list[int]]:
        """Return rows in parts that fit into memory."""
        size = self._tower.together(self._gapped)
        return [rows[start : start + size] for start in range(0, len(rows), size)]


def load(dataset: str, weights_sha256: str | None, backbone: Backbone, device: str) -> TextTower:
    """Load the text tower that encoded the class names of a dataset; arguments as of `text_tower.that_encoded`.

    Raises:
        OodgridError: torch or open_clip is not installed, or the backbone has other weights now.
        Skip: It has no text tower.
    """
    try:
        return text_tower.that_encoded(dataset, weights_sha256, backbone, device)
    except ImportError as error:
        raise OodgridError(
            f"the text tower of {backbone.name} needs {error.name}: pip install 'oodgrid[encode]'"
        ) from error


def _array(features: torch.Tensor) -> np.ndarray:
    return features.cpu().double().numpy()
