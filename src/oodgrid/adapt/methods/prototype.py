"""Visual prototypes: class means of the shots."""

from __future__ import annotations

from dataclasses import dataclass

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, TextSide, class_means
from oodgrid.registry import method


@method(
    title="Prototype",
    look="grey s",
    leaves="prototypes",
    needs=("shots",),
    one_class=True,
    paper="Snell et al. 2017 (prototypical networks), equation 1",
)
@dataclass(frozen=True)
class Prototype:
    """Visual prototypes: the normalised class means of the normalised shots; needs no text.

    logits = cos(x, c_k), c_k = normalise(mean of normalised x_i with y_i = k). Scale: cosines.
    Deviation from the paper: cosine similarity in place of the negative squared Euclidean distance, because
    CLIP's space is one of directions.
    """

    def fit(self, data: FitData) -> Learned:
        """Average the shots of each class."""
        return Learned({"prototypes": class_means(data.train, data.train_labels, data.classes)})

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity with the class means."""
        return Classifier(learned["prototypes"])
