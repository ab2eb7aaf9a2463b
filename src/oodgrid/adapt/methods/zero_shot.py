"""Zero-shot CLIP: learns nothing."""

from __future__ import annotations

from dataclasses import dataclass

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide
from oodgrid.registry import method


@method(
    title="Zero-shot",
    look="black o",
    leaves="prototypes",
    needs=("text",),
    text_cosines=True,
    one_class=True,
    paper="Radford et al. 2021, section 3.1",
)
@dataclass(frozen=True)
class ZeroShot:
    """Zero-shot CLIP: the text embeddings are the prototypes.

    logits = cos(x, t_k), with t_k the normalised mean over templates of the normalised text embeddings.
    Scale: cosines, so T = .01 gives CLIP's own softmax of 100 cos (Radford et al.'s learned logit scale).
    """

    def fit(self, data: FitData) -> Learned:
        """Take the text prototypes as they are."""
        return Learned({"prototypes": data.text.prototypes})

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity with the text prototypes."""
        return Classifier(learned["prototypes"])
