"""CoOp: learns the context of the prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oodgrid.adapt.prompt_learning import Batch, PromptLearner
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch


@method(
    title="CoOp",
    look="vermillion D",
    leaves="prototypes",
    needs=("text_tower", "shots"),
    text_cosines=True,
    paper="Zhou et al. 2022 (IJCV), Learning to Prompt for Vision-Language Models; github.com/KaiyangZhou/CoOp",
)
@dataclass(frozen=True)
class CoOp(PromptLearner):
    """CoOp: learns M context vectors, shared by all classes, in place of "a photo of a".

    The prompt of class k is [start] v_1 … v_M name_k . [end]; its embedding g_k is the prototype. Loss: cross
    entropy of s cos(x, g_k), s the backbone's logit scale. Recipe of the code of record: v ~ N(0, 0.02²), SGD
    0.002 with momentum 0.9 and weight decay 5e-4, batches of 32, one warm-up epoch at 1e-5, then a cosine
    stepped by epoch; 50 epochs for 1 shot, 100 for 2 and 4, 200 from 8 (ImageNet: 50 for all, write epochs: 50); the
    last step counts, nothing is selected.

    The second published recipe, that of the CoCoOp paper: `init: "a photo of a"`, whose four tokens are where
    learning starts. `class_specific` gives every class a context of its own, `position` is the class name's:
    end, middle or front (the official CSC and CLASS_TOKEN_POSITION).

    Scale: cosines (the training logits are s times them).
    Deviations: one of the cached `views` an image and epoch (CoOp's own: rrc08), or the centre view where none are
    named, in place of a fresh random crop every epoch; float32 parameters and losses throughout, where the official
    float16 context has collapsed runs; `precision` is that of the tower's layers alone.
    """

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the cross entropy."""
        return batch.cross_entropy
