"""Own head: the network's own classifier, as it was trained."""

from __future__ import annotations

from dataclasses import dataclass

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide
from oodgrid.errors import Skip
from oodgrid.registry import method


@method(
    title="Own head",
    look="green * : hollow",
    leaves="prototypes",
    needs=("own_head",),
    normalises=False,
    paper="the network's; scores of such classifiers: Yang et al. 2022 (NeurIPS), OpenOOD",
)
@dataclass(frozen=True)
class OwnHead:
    """Own head: the classifier that a network was trained with, on its features by their own norm.

    Nothing is learned. The post-hoc scores of the literature (MSP, energy, ReAct, ASH, ViM, …) were made for such
    networks: for logits z = W x + b and last features x that are not normalised, and they are given both so here.

    Scale: here logits = z / 100, as for every classifier trained at temperature 1 (`linear_probe`), so that T = .01 is
    softmax(z) and energy at T = .01 is one hundredth of the published one: the same ranking. Scores that have another
    weight between logits and features are said in docs/own-head.md.
    """

    def fit(self, data: FitData) -> Learned:
        """Return the head."""
        if data.head is None:
            raise Skip("the network brings no classification head")
        return Learned(dict(data.head))

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return the network's logits divided by 100."""
        return Classifier(learned["weights"] / 100, learned["bias"] / 100)
