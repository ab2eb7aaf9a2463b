"""ZS-LP: a linear probe that starts from the text prototypes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.training import Family, Recipe, TrainingFeatures
from oodgrid.devices import device
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="ZS-LP",
    look="sky > --",
    leaves="prototypes",
    needs=("text", "shots"),
    paper="Silva-Rodríguez et al. 2024 (CVPR), A Closer Look at the Few-Shot Adaptation of Large Vision-Language "
    "Models, section 3 (ZS-LP); github.com/jusiro/CLAP",
)
@dataclass(frozen=True)
class ZsLp:
    """ZS-LP: prototypes w_k that start at the text embeddings; cross entropy of 100 cos(x, w_k).

    The start is the mean over templates of the embeddings, not normalised, as in the code. Recipe: SGD 0.1 with
    momentum 0.9, no weight decay, batches of 256, 300 epochs, one warm-up epoch at 1e-5, then a cosine stepped by
    epoch; the last step counts, nothing is selected. The rate is meant for CLIP's embeddings, of norms near 10;
    imported ones of unit norm turn a hundred times as fast, and the fit says so in its notes.

    Scale: cosines (the training logits are 100 times them).
    Deviations: an epoch is a pass over the shots with one of their cached `views` each (the code's family: rrc08,
    20 views, of all of which together it draws as many batches as a pass over the shots has).
    """

    epochs: PositiveInt = 300
    lr: NonNegativeFloat = 0.1
    batch: PositiveInt = 256
    views: Family = None

    def fit(self, data: FitData) -> Learned:
        """Train the prototypes on the shots."""
        import torch

        pull = self.pull(data)
        start, multipliers, labels = (
            torch.from_numpy(array).to(device())
            for array in (data.text.embeddings.mean(axis=0), pull, data.train_labels.astype(np.int64))
        )
        weights = start.clone().requires_grad_(True)

        def loss(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            logits = 100 * x @ torch.nn.functional.normalize(weights, dim=1).T
            distances = (weights - start).square().sum(dim=1)
            return torch.nn.functional.cross_entropy(logits, labels[rows]) + (multipliers * distances).mean()

        generator = torch.Generator().manual_seed(data.seed)
        features = TrainingFeatures(data, device(), normalise)
        recipe = Recipe(self.epochs, self.lr, self.batch, weight_decay=0)
        losses = recipe.descend([weights], data, features, generator, loss)
        prototypes = normalise(weights.detach().cpu().numpy())
        unit = np.allclose(np.linalg.norm(data.text.embeddings, axis=-1), 1, atol=1e-2)
        notes = "unit-norm text embeddings: the rate is a hundred times what it is for CLIP's own" if unit else None
        return Learned({"prototypes": prototypes}, {"losses": losses, "multipliers": pull.tolist(), "notes": notes})

    def pull(self, data: FitData) -> np.ndarray:
        """Return how strongly every prototype is pulled back to its text, shape (K,): zero, but in CLAP."""
        return np.zeros(data.classes, dtype=np.float32)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity with the trained prototypes."""
        return Classifier(learned["prototypes"])
