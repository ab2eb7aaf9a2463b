"""PromptSRC, its text side: CoOp kept near zero-shot CLIP, with contexts averaged over the epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from oodgrid.adapt.prompt_learning import Batch, PromptLearner
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="PromptSRC (text)",
    look="orange o -- hollow",
    leaves="prototypes",
    needs=("text_tower", "shots"),
    text_cosines=True,
    paper="Khattak et al. 2023 (ICCV), Self-regulating Prompts: Foundational Model Adaptation without Forgetting, "
    "equations 3-8; github.com/muzairkhattak/PromptSRC",
)
@dataclass(frozen=True)
class PromptSRC(PromptLearner):
    """PromptSRC (text side): cross entropy + `text_weight` · mean |g_k - t_k| + KL(zero-shot ‖ learned) / (b K).

    t_k are the text prototypes: give the dataset several templates, the official code has 60. The KL of the softmax
    of scaled logits is summed over the batch and divided by the number of logits, as in the code.
    The context that counts is the mean over epochs e = 1 … E, weighted by a Gaussian of `mean` and `deviation`.
    `text_weight: 0`, `agreement: 0`, and a deviation near 0 at the last epoch: CoOp with this recipe.

    Recipe: four tokens from "a photo of a", SGD 0.0025, batches of 4, 50 epochs, CoOp's schedule; text_weight 25;
    mean 30, deviation 30 (ImageNet and most sets; the code takes 45 and 5 for cars, flowers, aircraft, textures and
    EuroSAT). Scale: cosines.
    Deviations: those of CoOp, and only what needs no gradient of the image encoder: no visual prompts, no image loss,
    and the learned tokens stand in the first layer only (the official ones in nine).
    """

    init: str | None = "a photo of a"
    epochs: PositiveInt | None = 50
    lr: NonNegativeFloat = 0.0025
    batch: PositiveInt = 4
    text_weight: NonNegativeFloat = 25.0
    agreement: NonNegativeFloat = 1.0
    mean: NonNegativeFloat = 30.0
    deviation: PositiveFloat = 30.0

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return cross entropy plus the two terms that keep the prompts near zero-shot CLIP."""
        import torch

        distance = (batch.embeddings - batch.zero_shot).abs().mean()
        teacher = (batch.scale * batch.x @ batch.zero_shot.T).log_softmax(dim=1)
        divergence = torch.nn.functional.kl_div(
            batch.logits.log_softmax(dim=1), teacher, reduction="sum", log_target=True
        )
        return batch.cross_entropy + self.text_weight * distance + self.agreement * divergence / batch.logits.numel()

    def descend(
        self, train: Callable[..., list[float]], context: torch.Tensor, epochs: int
    ) -> tuple[list[float], np.ndarray]:
        """Return the losses and the weighted mean of the context over the epochs."""
        weights, average = self.weights(epochs), np.zeros(tuple(context.shape))

        def add(epoch: int) -> None:
            average[...] += weights[epoch] * context.detach().cpu().numpy()

        return train(after_epoch=add), average.astype(np.float32)

    def weights(self, epochs: int) -> np.ndarray:
        """Return the weight of every epoch, shape (E,), summing to 1."""
        exponents = -0.5 * ((np.arange(1, epochs + 1) - self.mean) / self.deviation) ** 2
        weights = np.exp(exponents - exponents.max())
        return weights / weights.sum()
