"""NegPrompt: learns, beside what a class looks like, what it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.prompt_learning import encode_contexts
from oodgrid.adapt.training import Family, Recipe, TrainingFeatures
from oodgrid.registry import method
from oodgrid.text_tower import Precision

if TYPE_CHECKING:
    import torch

NOISE = 1e-5


@method(
    title="NegPrompt",
    look="black v -- hollow",
    leaves="prototypes",
    needs=("text_tower", "shots"),
    text_cosines=True,
    negatives=True,
    paper="Li et al. 2024 (CVPR), Learning Transferable Negative Prompts for Out-of-Distribution Detection; "
    "github.com/mala-lab/NegPrompt",
)
@dataclass(frozen=True)
class NegPrompt:
    """NegPrompt: one positive context, then `negatives` contexts beside it, all shared by the classes.

    First the positive context is learned as in CoOp, from "a photo of a". Then it stands still and the negative ones,
    which start from it with noise of 1e-5, descend on
      `separation` · the multi-label soft margin of s cos(x, ·) over all positive and negative prompts, with the prompts
      of the label as the true ones
      - `distance` · mean of 1 - cos(positive_k, negative_kj) + `spread` · mean over classes of |mean_j negative_kj|.
    This is the code's loss with its default `open_set_method`, weights 1, .1, .05 from its script; the paper's words
    for the three parts differ. What is left: positive prototypes, and K x n negative ones for scores that want them.

    Recipe: SGD 0.1 without momentum or decay, batches of 64, 100 epochs a stage. Scale: cosines.
    Deviations: the official cosine of 50 steps is stepped by batch and by epoch, here once over the epochs after CoOp's
    warm-up; the official code keeps the epoch with the best AUROC against the OOD test set, here the last counts; the
    official augmentation (crop of a padded image, flip) is no family of `views`.
    """

    negatives: PositiveInt = 2
    init: str = "a photo of a"
    separation: NonNegativeFloat = 1.0
    distance: NonNegativeFloat = 0.1
    spread: NonNegativeFloat = 0.05
    epochs: PositiveInt = 100
    lr: NonNegativeFloat = 0.1
    batch: PositiveInt = 64
    views: Family = None
    precision: Precision = "fp32"

    def fit(self, data: FitData) -> Learned:
        """Train the positive context, then the negative ones."""
        import torch

        tower = data.text.tower().at(self.precision)
        prompts = tower.prompts(data.text.classnames)
        generator = torch.Generator().manual_seed(data.seed)
        features = TrainingFeatures(data, tower.device, normalise)
        labels = torch.from_numpy(data.train_labels).long().to(tower.device)
        recipe = Recipe(self.epochs, self.lr, self.batch, 0.0, scaled=self.precision == "fp16", momentum=0.0)
        positive = tower.embed(self.init).clone().requires_grad_(True)

        def matching(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            logits = tower.logit_scale * x @ tower.encode(positive, prompts).T
            return torch.nn.functional.cross_entropy(logits, labels[rows])

        losses = recipe.descend([positive], data, features, generator, matching)
        with torch.no_grad():
            prototypes = tower.encode(positive, prompts)
            noise = NOISE * (2 * torch.rand((self.negatives, *positive.shape), generator=generator) - 1)
            contexts = positive + noise.to(tower.device)
        contexts = contexts.requires_grad_(True)

        def separating(rows: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            negatives = tower.encode_each(contexts, prompts).transpose(0, 1)
            return self.loss(x, labels[rows], prototypes, negatives, tower.logit_scale)

        negative_losses = recipe.descend([contexts], data, features, generator, separating)
        arrays = {"context": positive.detach().cpu().numpy(), "negative_contexts": contexts.detach().cpu().numpy()}
        info = {"epochs": self.epochs, "losses": losses, "negative_losses": negative_losses, "notes": tower.note}
        return Learned(arrays, info)

    def loss(
        self, x: torch.Tensor, labels: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Return the loss of the negative prompts, given features (b, D), prompts (K, D) and (K, n, D)."""
        import torch

        prompts = torch.cat([positives[:, None], negatives], dim=1)  # (K, 1 + n, D)
        logits = (scale * torch.einsum("bd,knd->bkn", x, prompts)).flatten(1)
        of_label = torch.nn.functional.one_hot(labels, len(positives)).repeat_interleave(prompts.shape[1], dim=1)
        separation = torch.nn.functional.multilabel_soft_margin_loss(logits, of_label.float())
        distance = 1 - (positives[:, None] * negatives).sum(dim=-1).mean()
        spread = negatives.mean(dim=1).norm(dim=-1).mean()
        return self.separation * separation - self.distance * distance + self.spread * spread

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity with the class names under the positive context, and negatives from the others."""
        tower = text.tower().at(self.precision)
        contexts = np.concatenate([learned["context"][None], learned["negative_contexts"]])
        encoded = encode_contexts(tower, contexts, text.classnames)
        return Classifier(encoded[0], negatives=encoded[1:].transpose(1, 0, 2))
