"""POORE: cross entropy, and a margin between the texts of the classes and texts out of distribution made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, PseudoTexts, Skip, TextSide, normalise
from oodgrid.adapt.methods.mlp_head import MlpHead, embedded
from oodgrid.counts import counted
from oodgrid.devices import device
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch

    from oodgrid.adapt.methods.mlp_head import Beside

NO_TEXT = -1  # in a table of places: of this shot nothing was made


@method(
    title="POORE (rec.)",
    look="blue + :",
    leaves="features",
    needs=("shots", "pseudo_ood"),
    paper="Sundararaman et al. 2022, arXiv 2210.09132, Pseudo-OOD training for robust language models; reconstructed "
    "from the abstract, no code was released",
)
@dataclass(frozen=True)
class Poore:
    """POORE (reconstructed): the head of `mlp_head` under cross entropy, and a margin to texts out of distribution.

    Loss: CE(z · p / tau) + `weight` · mean over pairs of relu(`margin` - z_i · p_{y_i} + max_k o_i · p_k), with z_i
    what the head makes of a text, p_k the prototypes, and o_i what it makes of a pseudo-OOD text that was made of it
    (`pseudo_ood` of the dataset, by its name here; `encode/pseudo_texts.py`); the pairs are those of a batch. So each
    text shall be nearer to its class than what is left of it without its keywords is to any. Where nothing was made of
    a text, it has no pair. With `pseudo_ood: null` or weight 0 it is `mlp_head` with contrast 0, to the bit.

    Reconstructed: the abstract says that pseudo-OOD samples are generated from in-distribution data, and that a
    regularisation loss separates the embeddings of both; how they are made (the introduction names a Mahalanobis-based
    context masking), that loss and its numbers could not be read. Deviations: the encoder is frozen; keywords go by
    tf-idf; margin .2, as in `wood`, and weight 1 were set before any result was seen. Recipe and scale: `mlp_head`'s.
    """

    pseudo_ood: str | None = "keywords"
    weight: NonNegativeFloat = 1.0
    margin: Annotated[float, Field(ge=0, le=2)] = 0.2
    epochs: NonNegativeInt = 50
    tau: PositiveFloat = 0.1
    lr: NonNegativeFloat = 0.1
    batch: PositiveInt = 256

    def __post_init__(self) -> None:
        """Without weight no pseudo-OOD text is looked at, and none is asked for."""
        if not self.weight:
            object.__setattr__(self, "pseudo_ood", None)

    @property
    def _head(self) -> MlpHead:
        return MlpHead(self.epochs, contrast=0.0, tau=self.tau, lr=self.lr, batch=self.batch)

    def fit(self, data: FitData) -> Learned:
        """Train the head on the shots and on what was made of them."""
        if self.pseudo_ood is None:
            learned = self._head.fit(data)
            return Learned(learned.arrays, learned.info | {"pseudo_ood": 0})
        if data.pseudo_ood is None:
            raise Skip("there are no pseudo-OOD texts made of the shots")
        learned = self._head.learn(data, self._separation_of(data.pseudo_ood, data.train_labels))
        count = len(data.pseudo_ood.rows)
        notes = f"reconstructed; {counted(count, 'pseudo-OOD text')} of {counted(len(data.train), 'shot')}"
        return Learned(learned.arrays, learned.info | {"pseudo_ood": count, "notes": notes})

    def _separation_of(self, made: PseudoTexts, train_labels: np.ndarray) -> Beside:
        """Return the part of the loss that sees pseudo-OOD texts, as a function of the head, a batch and its z."""
        import torch

        table = torch.from_numpy(places(made.rows, len(train_labels))).to(device())
        labels = torch.from_numpy(train_labels).long().to(device())
        features = torch.from_numpy(np.ascontiguousarray(normalise(made.features))).to(device())

        def beside(parameters: list[torch.Tensor], rows: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            first, second, prototypes = parameters
            of_batch, column = (table[rows] != NO_TEXT).nonzero(as_tuple=True)
            if not len(of_batch):
                return z.new_zeros(())
            o = embedded(features[table[rows][of_batch, column]], first, second)
            p = torch.nn.functional.normalize(prototypes, dim=1)
            own = (z[of_batch] * p[labels[rows][of_batch]]).sum(dim=1)
            return self.weight * separation(own, o @ p.T, self.margin)

        return beside

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosine similarity of changed features with the prototypes."""
        return self._head.classifier(learned, text)


def places(rows: np.ndarray, shots: int) -> np.ndarray:
    """Return where the texts stand that were made of each shot, shape (shots, most of one), filled up with -1.

    Args:
        rows: Shape (P,): of which shot each text was made, in any order.
        shots: Number of shots.
    """
    order = np.argsort(rows, kind="stable")
    counts = np.bincount(rows, minlength=shots)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((shots, max(1, counts.max(initial=0))), NO_TEXT, dtype=np.int64)
    table[rows[order], within] = order
    return table


def separation(own: torch.Tensor, others: torch.Tensor, margin: float) -> torch.Tensor:
    """Return the mean over pairs of how far a text out of distribution comes within the margin of its text.

    Args:
        own: Shape (n,): cosine of each text with the prototype of its class.
        others: Shape (n, K): cosines of the text that was made of it with all prototypes.
        margin: By how much the largest of these is to be smaller.
    """
    return (margin - own + others.max(dim=1).values).relu().mean()
