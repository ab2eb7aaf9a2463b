"""WOOD: a hinge on the similarity of image and text, and a classifier of pairs, from few labelled OOD pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal
from zlib import crc32

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from oodgrid.adapt.contract import Arrays, Classifier, FitData, Learned, Outliers, Skip, TextSide, normalise
from oodgrid.adapt.pair_losses import cood, hinge
from oodgrid.adapt.training import batches, mean_loss, take_step
from oodgrid.counts import counted
from oodgrid.devices import device
from oodgrid.errors import OodgridError
from oodgrid.labels import NO_CLASS
from oodgrid.progress import progress
from oodgrid.registry import method

if TYPE_CHECKING:
    import torch

Share = Annotated[float, Field(gt=0, le=1)]
WEIGHT_DECAY, WARM_UP = 0.2, 0.1  # of COOD's code; the warm-up is a share of all steps


@dataclass(frozen=True)
class Sample:
    """What a fit learns from: matched pairs, and behind them labelled OOD pairs.

    Attributes:
        images: Shape (n, D), float32, unit norm.
        texts: Shape (n, D), likewise.
        labels: Shape (n,); of OOD pairs -1.
    """

    images: np.ndarray
    texts: np.ndarray
    labels: np.ndarray


@method(
    title="WOOD (rec.)",
    look="blue h -- hollow",
    leaves="features",
    needs=("pairs", "outliers", "shots"),
    paper="Duong et al. 2024 (TMLR), arXiv 2307.13069, General-Purpose Multi-Modal OOD Detection; reconstructed from "
    "the abstract and the authors' answers to reviewers, no code was released; losses: cood: "
    "github.com/yanyanfu/COOD c54de12",
)
@dataclass(frozen=True)
class Wood:
    """WOOD (reconstructed): maps of image and text under a hinge on their cosine, and a binary classifier of the pair.

    c = x + A x and t = y + B y of unit features of image and text, A and B (D, D), zero at the start, so that nothing
    trained is the raw cosine. Contrastive module: `pair_losses.hinge` of c and t, `losses: cood` that of COOD's code.
    Binary module: an MLP on √D [c, t, c - t, c + t], 4D to D/2 (tanh, dropout) to 1, binary cross entropy, 1 = ID.
    Loss: contrastive + `weight` · binary; `modules` takes one of them alone. Labelled OOD pairs: of every OOD set with
    a training split as many as the share `labelled` of the ID pairs, one at least, drawn by the seed.

    Reconstructed: Eq. 7 and 8, the regulariser of sparse features (left out) and all numbers could not be read; margin
    .2, weight .2, dropout .1, Xavier, batches of 64, AdamW with decay .2 and a linear warm-up over a tenth of the steps
    are COOD's. Deviations from both: encoders are frozen, so that maps are trained in their place, at a rate of .001
    for 20 epochs; the norms of features are not used; the last epoch counts, nothing is selected. In the hinge pairs of
    one class are no negatives of each other; in COOD's loss they are, as in its code.

    Scale: cosines of mapped image features with the mapped class names, which no loss has seen.
    """

    modules: Literal["both", "contrastive", "binary"] = "both"
    losses: Literal["hinge", "cood"] = "hinge"
    margin: Annotated[float, Field(ge=0, le=2)] = 0.2
    weight: NonNegativeFloat = 0.2
    labelled: Share = 0.01
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    epochs: PositiveInt = 20
    lr: NonNegativeFloat = 0.001
    batch: PositiveInt = 64

    def __post_init__(self) -> None:
        """Refuse what the module that is left out would have read: the fit would be another in name alone."""
        unread = {"contrastive": ("weight", "dropout"), "binary": ("losses", "margin", "weight")}.get(self.modules, ())
        for name in unread:
            if getattr(self, name) != getattr(Wood, name):
                raise OodgridError(f"modules: {self.modules} does not read {name}: take {name} out")

    @property
    def tells_pairs(self) -> bool:
        """Whether it leaves the logit of a classifier of pairs."""
        return self.modules != "contrastive"

    def fit(self, data: FitData) -> Learned:
        """Train the maps and the classifier on the shots and the labelled OOD pairs."""
        import torch

        sample = self.sample(data)
        generator = torch.Generator().manual_seed(data.seed)
        start = self.initial(sample.images.shape[1], generator)
        parameters = {name: value.to(device()).requires_grad_(True) for name, value in start.items()}
        losses = self._descend(parameters, sample, generator)
        trained = {name: value.detach().cpu().numpy() for name, value in parameters.items()}
        ood = int((sample.labels == NO_CLASS).sum())
        notes = f"reconstructed; {counted(ood, 'labelled OOD pair')} of {counted(len(data.outliers), 'set')}"
        return Learned(trained, {"losses": losses, "labelled_ood": ood, "notes": notes})

    def sample(self, data: FitData) -> Sample:
        """Return the ID pairs of a fit, and its labelled OOD pairs behind them.

        Raises:
            Skip: The samples are no pairs.
        """
        if data.train_texts is None:
            raise Skip("the samples are no pairs of an image and a text")
        count, sets = round(self.labelled * len(data.train)), sorted(data.outliers, key=lambda each: each.name)
        drawn = [_drawn(outliers, count, data.seed) for outliers in sets]
        images = np.concatenate([data.train, *(images for images, _ in drawn)])
        texts = np.concatenate([data.train_texts, *(texts for _, texts in drawn)])
        ood = np.full(len(images) - len(data.train), NO_CLASS)
        # without classes every pair is one of its own, and all others are its negatives
        classes = data.train_labels if data.classes > 1 else np.arange(len(data.train))
        labels = np.concatenate([classes.astype(np.int64), ood])
        return Sample(normalise(images), normalise(texts), labels)

    def initial(self, width: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Return the parameters before training: maps that change nothing, and a classifier drawn as Xavier has it."""
        import torch

        parameters = {"image_map": torch.zeros(width, width), "text_map": torch.zeros(width, width)}
        if self.modules == "contrastive":
            return parameters
        hidden = max(1, width // 2)
        for name, (rows, columns) in {"first": (hidden, 4 * width), "second": (1, hidden)}.items():
            weights = torch.nn.init.xavier_uniform_(torch.empty(rows, columns), generator=generator)
            parameters |= {name: weights, f"{name}_bias": torch.zeros(rows)}
        return parameters

    def _descend(self, parameters: dict[str, torch.Tensor], sample: Sample, generator: torch.Generator) -> list[float]:
        """Train parameters in place and return the mean loss of every epoch."""
        import torch

        x, y = (torch.from_numpy(np.ascontiguousarray(side)).to(device()) for side in (sample.images, sample.texts))
        labels = torch.from_numpy(sample.labels).to(device())
        optimiser = torch.optim.AdamW([*parameters.values()], lr=self.lr, weight_decay=WEIGHT_DECAY)
        steps = self.epochs * sum(1 for _ in batches(len(x), self.batch, torch.Generator()))
        rates = self._rates(steps)
        losses = []
        for epoch in progress(range(self.epochs), desc="train", unit="epoch", leave=False):
            of_steps = []
            for rows in batches(len(x), self.batch, generator, device=x.device):
                optimiser.param_groups[0]["lr"] = next(rates)
                of_steps.append(take_step(self.loss(parameters, x[rows], y[rows], labels[rows], generator), optimiser))
            losses.append(mean_loss(of_steps, epoch))
        return losses

    def _rates(self, steps: int) -> Iterator[float]:
        """Yield the learning rate of each step: up over the first tenth, then down to 0, both linear."""
        rise = max(1.0, WARM_UP * steps)
        return (self.lr * min((step + 1) / rise, (steps - step) / max(1.0, steps - rise)) for step in range(steps))

    def loss(
        self,
        parameters: dict[str, torch.Tensor],
        x: torch.Tensor,
        y: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Return the loss of a batch of pairs.

        Args:
            parameters: As `initial` has them.
            x: Shape (b, D), unit norm, of images.
            y: Shape (b, D), unit norm, of texts.
            labels: Shape (b,), -1 for OOD pairs.
            generator: Of dropout; None for none.
        """
        import torch

        c, t = x + x @ parameters["image_map"].T, y + y @ parameters["text_map"].T
        is_ood, total = labels == NO_CLASS, x.new_zeros(())
        if self.modules != "binary":
            images, texts = (torch.nn.functional.normalize(side, dim=1) for side in (c, t))
            total = total + self._contrastive(images, texts, labels, is_ood)
        if self.modules != "contrastive":
            joined = torch.cat([c, t, c - t, c + t], dim=1) * x.shape[1] ** 0.5
            inner = (joined @ parameters["first"].T + parameters["first_bias"]).tanh()
            if generator is not None and self.dropout:
                kept = torch.rand(inner.shape, generator=generator).to(inner.device) >= self.dropout
                inner = inner * kept / (1 - self.dropout)
            logits = (inner @ parameters["second"].T + parameters["second_bias"])[:, 0]
            binary = torch.nn.functional.binary_cross_entropy_with_logits(logits, (~is_ood).to(logits.dtype))
            total = total + (self.weight if self.modules == "both" else 1) * binary
        return total

    def _contrastive(
        self, images: torch.Tensor, texts: torch.Tensor, labels: torch.Tensor, is_ood: torch.Tensor
    ) -> torch.Tensor:
        if self.losses == "cood":
            return cood(images, texts, is_ood, self.margin)
        return hinge(images, texts, labels, is_ood, self.margin)

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Return cosines of mapped image features with the mapped class names, and what is made of pairs."""
        arrays = {name: values.astype(np.float64) for name, values in learned.items()}

        def mapped(features: np.ndarray, side: str) -> np.ndarray:
            unit = normalise(features.astype(np.float64))  # float32 would show where in its block a pair stands
            return unit + unit @ arrays[f"{side}_map"].T

        def of_pairs(images: np.ndarray, texts: np.ndarray) -> Arrays:
            c, t = mapped(images, "image"), mapped(texts, "text")
            left = {"features": c, "pair_texts": t}
            if "first" in arrays:
                joined = np.concatenate([c, t, c - t, c + t], axis=1) * np.sqrt(c.shape[1])
                inner = np.tanh(joined @ arrays["first"].T + arrays["first_bias"])
                left["pair_logits"] = (inner @ arrays["second"].T + arrays["second_bias"])[:, 0]
            return left

        width = arrays["image_map"].shape[0]
        prototypes = normalise(mapped(text.prototypes, "text")) if len(text.prototypes) else np.empty((0, width))
        return Classifier(prototypes.astype(np.float32), of_pairs=of_pairs)


def _drawn(outliers: Outliers, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images and texts of so many labelled OOD pairs of a set, one at least and all it has at most.

    Which they are depends on the set and the seed, and on no other set beside it.
    """
    rng = np.random.default_rng([seed, crc32(outliers.name.encode())])
    rows = np.sort(rng.permutation(len(outliers.images))[: max(1, count)])
    return outliers.images[rows], outliers.texts[rows]
