"""What methods that learn the context of a prompt share: CoOp and its successors differ in their losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, normalise
from oodgrid.adapt.training import Family, Recipe, TrainingFeatures
from oodgrid.text_tower import Position, Precision, TextTower

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batch:
    """One batch, as a loss takes it.

    Attributes:
        x: Shape (b, D), normalised features.
        labels: Shape (b,).
        embeddings: Shape (K, D), normalised: the classes' prompts with the learned context.
        zero_shot: Shape (K, D), the text prototypes.
        scale: The backbone's logit scale.
        local_features: Returns the local features, shape (b, P, D), normalised.
    """

    x: torch.Tensor
    labels: torch.Tensor
    embeddings: torch.Tensor
    zero_shot: torch.Tensor
    scale: float
    local_features: Callable[[], torch.Tensor]

    @cached_property
    def logits(self) -> torch.Tensor:
        """Scaled logits, shape (b, K)."""
        return self.scale * self.x @ self.embeddings.T

    @cached_property
    def cross_entropy(self) -> torch.Tensor:
        """CoOp's loss."""
        import torch

        return torch.nn.functional.cross_entropy(self.logits, self.labels)


@dataclass(frozen=True)
class PromptLearner:
    """Learns context vectors in place of "a photo of a"; a method is its loss and its recipe."""

    context_tokens: PositiveInt = 16
    init: str | None = None
    class_specific: bool = False
    position: Position = "end"
    epochs: PositiveInt | None = None
    lr: NonNegativeFloat = 0.002
    batch: PositiveInt = 32
    views: Family = None
    precision: Precision = "fp32"

    def loss(self, batch: Batch) -> Any:
        """Return the loss of a batch: a number, or what the method's own `descend` takes."""
        raise NotImplementedError

    def fit(self, data: FitData) -> Learned:
        """Train the context on the shots."""
        import torch

        tower = data.text.tower().at(self.precision)
        prompts = tower.prompts(data.text.classnames, self.position)
        generator = torch.Generator().manual_seed(data.seed)
        context = self.start(tower, data.classes, generator)
        features = TrainingFeatures(data, tower.device, normalise)
        labels = torch.from_numpy(data.train_labels).long().to(tower.device)
        zero_shot = torch.from_numpy(data.text.prototypes).to(tower.device)

        def loss(rows: torch.Tensor, x: torch.Tensor) -> Any:
            embeddings = tower.encode(context, prompts)
            local = partial(features.local, rows)
            return self.loss(Batch(x, labels[rows], embeddings, zero_shot, tower.logit_scale, local))

        recipe = self.recipe(data.shots)
        train = partial(recipe.descend, [context], data, features, generator, loss)
        losses, kept = self.descend(train, context, recipe.epochs)
        return Learned({"context": kept}, {"epochs": recipe.epochs, "losses": losses, "notes": tower.note})

    def descend(
        self, train: Callable[..., list[float]], context: torch.Tensor, epochs: int
    ) -> tuple[list[float], np.ndarray]:
        """Train, and return the losses and the context to keep: here that after the last step.

        Args:
            train: `Recipe.descend` of this fit; it still takes `step` and `after_epoch`.
            context: What it changes.
            epochs: How many it goes through.
        """
        return train(), context.detach().cpu().numpy()

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity with the class names under the learned context."""
        import torch

        tower = text.tower().at(self.precision)
        with torch.inference_mode():
            context = torch.from_numpy(learned["context"]).to(tower.device)
            embeddings = tower.encode(context, tower.prompts(text.classnames, self.position))
        return Classifier(embeddings.cpu().numpy())

    def start(self, tower: TextTower, classes: int, generator: torch.Generator) -> torch.Tensor:
        """Return the context before training: the tokens of `init`, or drawn from N(0, 0.02²)."""
        import torch

        if self.init is None:
            shape = (self.context_tokens, tower.width)
            context = 0.02 * torch.randn((classes, *shape) if self.class_specific else shape, generator=generator)
        else:
            tokens = tower.embed(self.init)
            context = tokens.expand(classes, -1, -1).clone() if self.class_specific else tokens.clone()
        return context.to(tower.device).requires_grad_(True)

    def recipe(self, shots: int) -> Recipe:
        """Return the recipe of training with so many shots."""
        return Recipe(self.epochs or coop_epochs(shots), self.lr, self.batch, scaled=self.precision == "fp16")


def coop_epochs(shots: int) -> int:
    """Return CoOp's epochs: 50 for 1 shot, 100 for 2 and 4, 200 from 8."""
    return next(count for most, count in ((1, 50), (4, 100), (shots, 200)) if shots <= most)


def encode_contexts(tower: TextTower, contexts: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the embeddings of class names, shape (B, K, D), under contexts, shape (B, M, W)."""
    import torch

    with torch.inference_mode():
        return tower.encode_each(torch.from_numpy(contexts).to(tower.device), tower.prompts(names)).cpu().numpy()
