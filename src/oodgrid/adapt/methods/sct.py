"""SCT: LoCoOp whose two parts are weighed by how sure the model already is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat, PositiveInt

from oodgrid.adapt.methods.locoop import background_entropies
from oodgrid.adapt.prompt_learning import Batch, PromptLearner
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="SCT",
    look="purple p :",
    leaves="prototypes",
    needs=("text_tower", "shots", "local_features"),
    text_cosines=True,
    paper="Yu et al. 2024 (NeurIPS), Self-Calibrated Tuning of Vision-Language Models for OOD Detection, "
    "equations 5-7; github.com/tmlr-group/SCT",
)
@dataclass(frozen=True)
class SCT(PromptLearner):
    """SCT: mean of (1 - p_y) CE, minus `strength` times the mean of p_y H over LoCoOp's background patches.

    p_y is the softmax of scaled logits at the label, through which gradients flow as in the code; H is LoCoOp's
    entropy of a patch, weighed by the p_y of its image; the code adds 1e-7 to both weights. Recipe: CoOp's with 25
    epochs; strength 0.25 (the code's script sweeps .4, .3, .25, .2); top_k as for LoCoOp.

    Scale: cosines, as for CoOp. Deviations: those of CoOp.
    """

    epochs: PositiveInt | None = 25
    strength: NonNegativeFloat = 0.25
    top_k: PositiveInt | None = None

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the self-calibrated loss."""
        import torch

        certainty = batch.logits.softmax(dim=1).gather(1, batch.labels[:, None])[:, 0]  # p_y
        cross_entropy = torch.nn.functional.cross_entropy(batch.logits, batch.labels, reduction="none")
        classification = (cross_entropy * (1 + 1e-7 - certainty)).mean()
        if not self.strength:
            return classification
        entropies, images = background_entropies(batch, self.top_k)
        background = (entropies * (1e-7 + certainty[images])).mean() if len(entropies) else 0
        return classification - self.strength * background
