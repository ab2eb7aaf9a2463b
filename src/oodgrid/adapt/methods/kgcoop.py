"""KgCoOp: CoOp that stays near the hand-written prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.prompt_learning import Batch, PromptLearner
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="KgCoOp",
    look="vermillion s -- hollow",
    leaves="prototypes",
    needs=("text_tower", "shots"),
    text_cosines=True,
    paper="Yao et al. 2023 (CVPR), Visual-Language Prompt Tuning with Knowledge-guided Context Optimization, "
    "equations 5-6; github.com/htyao89/KgCoOp",
)
@dataclass(frozen=True)
class KgCoOp(PromptLearner):
    """KgCoOp: CoOp plus `weight` times the distance from the hand-written prompts, 1 - mean_k cos(g_k, t_k).

    t_k are the text prototypes of the dataset's own templates, as the code's custom templates. Recipe: four context
    tokens from "a photo of a", SGD 0.002, batches of 128, 100 epochs, CoOp's schedule; weight 8, as in the paper
    (the code's default is 1 and its scripts pass 8). `weight: 0` is CoOp with this recipe.

    Scale: cosines, as for CoOp. Deviations: those of CoOp.
    """

    init: str | None = "a photo of a"
    epochs: PositiveInt | None = 100
    batch: PositiveInt = 128
    weight: NonNegativeFloat = 8.0

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return cross entropy plus the weighted distance."""
        distance = 1 - (batch.embeddings * batch.zero_shot).sum(dim=1).mean()
        return batch.cross_entropy + self.weight * distance
