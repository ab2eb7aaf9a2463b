"""The inputs of scores: logits on the cosine scale, features, and labelled samples to compare with.

All scores: higher = more in-distribution. Inputs by the names under which scores declare them in `needs`:

* `logits`: shape (N, K), float64, on the cosine scale.
* `negative_logits`: shape (N, K, n), likewise: with the negative prompts of each class that a method learned.
* `layer_features`: shape (N, 1 + layers, D), of texts: what every layer of the encoder gives, not normalised.
* `local_logits`: shape (N, P, K), likewise: of every patch of the image.
* `local_negative_logits`: shape (N, P, K, n), likewise, with the negative prompts; with `local_logits` alone.
* `features`: shape (N, D), float64, L2-normalised; under a method that is registered with `normalises=False`, as
  `own_head`, by their own norm, and so are those of a bank. A score whose formula has cosines takes `directions`.
* `corrupted_features`, `corrupted_logits`: shape (N, V, D) and (N, V, K): likewise, of V corrupted versions of each
  image, those that the parameter `corruptions` of the score names.
* `pair_texts`: shape (N, D), float64, L2-normalised: of pairs, the features of the text of each sample.
* `pair_logits`: shape (N,), float64: likewise, of a classifier of pairs that a method learned; higher = more ID.
* `head`: the linear classifier that makes logits of features, see `Head`.
* `bank`: the labelled shots of the method, see `Bank`.
* `val`: the few-shot validation samples, likewise; `val|bank`: these, or the shots where there are none.
* `class_texts`: shape (K, D), float64, L2-normalised: the class names under the templates of the ID set, whatever the
  method learned.
* `prompt_variants`: shape (V, K, D), likewise: the prompts of the classes with their words shuffled, V times.
* `text_tower`: the encoder of these texts, see `Encoder`; not of imported features, behind which none stands.

* `state`: of transductive scores that take it, a dict of arrays: what a score remembers of the stream so far. An empty
  one begins a stream; the score writes into it what the next part of the stream is to be scored with.

For a parameter of the type `LabelList` the configuration names a list of texts, and the score is given the `TextList`.

A score that needs neither logits nor a head does not depend on the method, and is computed once, under `any`.

Samples come in blocks of rows. A score looks at each sample alone, so that blocks change nothing. A transductive one,
which does not, registers as such and gets a whole stream at once. Scores share their inputs, whose arrays are closed to
writing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import JsonValue

from oodgrid import vectors
from oodgrid.config import Backbone, Precision
from oodgrid.errors import Skip
from oodgrid.score.products import Block, beside, by_rows, is_on_device, on_device, product
from oodgrid.score.sharing import frozen, shared, shared_property
from oodgrid.score.softmax import (
    largest_probability,
    log_normaliser,
    log_probabilities,
    negative_entropies,
    probabilities,
)
from oodgrid.signatures import ListName

__all__ = [
    "Bank",
    "Encoder",
    "Head",
    "LabelList",
    "LocalLogits",
    "Skip",
    "TextList",
    "by_rows",
    "by_similarities",
    "directions",
    "group_means",
    "largest_probability",
    "log_normaliser",
    "log_probabilities",
    "negative_entropies",
    "normalise",
    "of_directions",
    "probabilities",
    "product",
    "ranked",
    "similarities",
]
UNIT = 1e-6  # by which the squared norm of a direction may be off 1: rounding of float32 is
ROUNDING = 1e-12  # what the mean of equal unit features leaves as residuals stays far below


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier on features as scores are given them.

    Attributes:
        weights: Shape (K, D), float64.
        bias: Shape (K,), zeros where there is none.
        precision: Of the product with features.
    """

    weights: np.ndarray
    bias: np.ndarray
    precision: Precision = "float64"

    def __post_init__(self) -> None:
        frozen(self)

    def logits(self, features: Block) -> Block:
        """Return logits on the cosine scale, shape (N, K), of features, shape (N, D)."""
        logits = product(features, self.weights, self.precision)
        if self.bias.any():
            logits += beside(self.bias, logits)
        return logits


@dataclass(frozen=True, eq=False)
class LocalLogits:
    """The logits of patches where a GPU computes: what scores make of them is made there, and they are not copied.

    Attributes:
        patches: Shape (N, P, D), float64, L2-normalised.
        head: What makes their logits.
    """

    patches: np.ndarray
    head: Head

    def __post_init__(self) -> None:
        frozen(self)

    @shared_property
    def array(self) -> np.ndarray:
        """All of them, shape (N, P, K), for scores that know nothing of GPUs."""
        return self.head.logits(self.patches)

    def by_rows(self, function: Callable[[Block], Block]) -> np.ndarray:
        """Return what a function makes of blocks of the logits (n, P, K), shape (N,)."""
        width = self.patches.shape[1] * len(self.head.weights)
        return on_device(lambda patches: function(self.head.logits(patches)), self.patches, width=width)


def local_logits(patches: np.ndarray, head: Head) -> np.ndarray | LocalLogits:
    """Return the logits (N, P, K) of normalised patches (N, P, D), made where they are used on a GPU."""
    return LocalLogits(patches, head) if is_on_device() else frozen(head.logits(patches))


@dataclass(frozen=True, eq=False)
class TextList:
    """Texts beside the classes, as the negative texts of NegLabel or the agents of CMA.

    Attributes:
        features: Shape (M, D), float64, L2-normalised: the mean over the templates of the embeddings.
        names: M words, without their template.
        kinds: M words, as "noun" and "adjective", where the list says them; "" elsewhere.
        by_template: Shape (T, M, D), the embeddings as the encoder made them; None where there is one template.
        foreign: Of a list that is joined to classes, why these are not the ones at hand; "" elsewhere.
    """

    features: np.ndarray
    names: Sequence[str]
    kinds: Sequence[str]
    by_template: np.ndarray | None = None
    foreign: str = ""

    def __post_init__(self) -> None:
        frozen(self)


LabelList = Annotated[TextList, ListName()]


@dataclass(frozen=True, eq=False)
class Encoder:
    """The encoder of the class texts, for scores that go through its text tower; nothing of it is loaded yet.

    Attributes:
        backbone: As the configuration has it.
        dataset: Whose class texts it encoded.
        weights_sha256: Of the weights that did; None where that is not known.
    """

    backbone: Backbone
    dataset: str
    weights_sha256: str | None = None

    @property
    def identity(self) -> dict[str, JsonValue]:
        """What decides its numbers."""
        return {**self.backbone.identity, "weights_sha256": self.weights_sha256}


@dataclass(frozen=True, eq=False)
class Bank:
    """Labelled samples; what several scores estimate from them is computed once.

    Attributes:
        features: Shape (M, D), float64, L2-normalised where those of the samples are.
        labels: Shape (M,), int.
        shots: Samples per class of the draw.
        logits: Shape (M, K), on the cosine scale, where the method leaves any for these samples.
        head: What makes logits of the features otherwise; None where the method has no head.
        precision: Of the product with features of other samples.
        layers: Shape (M, 1 + layers, D): of texts, what every layer of the encoder gives, where a score needs it.
    """

    features: np.ndarray
    labels: np.ndarray
    shots: int
    logits: np.ndarray | None = None
    head: Head | None = None
    precision: Precision = "float64"
    layers: np.ndarray | None = None

    def __post_init__(self) -> None:
        frozen(self)

    @shared_property
    def directions(self) -> np.ndarray:
        """The features, L2-normalised."""
        return directions(self.features)

    @shared_property
    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """The classes that occur, shape (C,), and the index of each sample's class among them, shape (M,)."""
        return np.unique(self.labels, return_inverse=True)

    @shared_property
    def means(self) -> np.ndarray:
        """Class means of the features, shape (C, D), not normalised."""
        classes, index = self.classes
        return group_means(self.features, index, len(classes))

    @shared_property
    def centre(self) -> np.ndarray:
        """Mean of all features, shape (D,)."""
        return self.features.mean(axis=0)

    @shared_property
    def residuals(self) -> np.ndarray:
        """Features minus their class means, shape (M, D).

        Raises:
            Skip: No class has two samples that differ.
        """
        residuals = self.features - self.means[self.classes[1]]
        if np.abs(residuals).max() < ROUNDING:
            raise Skip("the tied covariance needs at least 2 shots a class")
        return residuals

    def own_logits(self) -> np.ndarray:
        """Return the logits.

        Raises:
            Skip: The method leaves none for these samples.
        """
        return self._of_head if self.logits is None else self.logits

    @shared_property
    def _of_head(self) -> np.ndarray:
        if self.head is None:
            raise Skip("the method leaves no logits of its shots")
        return self.head.logits(self.features)


def local_negatives(patches: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the cosines of patches (N, P, D) with negative prompts (K, n, D), both L2-normalised: shape (N, P, K, n).

    Where all prompts of each class are copies of one, as FA's, that one is multiplied.
    """
    distinct = negatives[:, :1] if (negatives == negatives[:, :1]).all() else negatives
    logits, shape = product(patches, distinct.reshape(-1, distinct.shape[-1])), patches.shape[:2]
    return np.broadcast_to(frozen(logits).reshape(*shape, *distinct.shape[:2]), (*shape, *negatives.shape[:2]))


def normalise(features: np.ndarray) -> np.ndarray:
    """Return rows of unit L2 norm in float64, shape (N, D); zero rows stay zero."""
    return vectors.normalise(features.astype(np.float64))


def group_means(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Return the mean of the rows of each group, shape (count, D), of values (M, D); zeros for a group without rows."""
    from scipy.sparse import csr_array  # late, as all of scipy: validating a configuration imports every score

    members = csr_array((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape=(count, len(groups)))
    return members @ values / np.maximum(np.bincount(groups, minlength=count), 1)[:, None]


def directions(features: np.ndarray) -> np.ndarray:
    """Return rows of unit L2 norm, shape (N, D), of features (N, D); rows that have it, to rounding, stay unchanged."""
    return features if _unit_rows(features).all() else _directions(features)


def of_directions(bank: Bank) -> Bank:
    """Return the same samples with normalised features, for scores that are defined on these."""
    return bank if bank.directions is bank.features else _of_directions(bank)


@shared
def _unit_rows(features: np.ndarray) -> np.ndarray:
    """Return which rows are of unit norm, to rounding, or zero, shape (N,)."""
    squares = np.einsum("nd,nd->n", features, features)
    return (np.abs(squares - 1) < UNIT) | (squares == 0)


@shared
def _directions(features: np.ndarray) -> np.ndarray:
    return np.where(_unit_rows(features)[:, None], features, vectors.normalise(features))


@shared
def _of_directions(bank: Bank) -> Bank:
    return replace(bank, features=bank.directions, head=None)


@shared
def ranked(logits: np.ndarray) -> np.ndarray:
    """Return the logits of every sample in ascending order, shape (N, K)."""
    return np.sort(logits, axis=-1)


@shared
def similarities(features: np.ndarray, bank: Bank) -> np.ndarray:
    """Return the cosines of every sample with every sample of the bank, shape (N, M)."""
    return product(directions(features), bank.directions, bank.precision)


def by_similarities(
    function: Callable[..., Block], features: np.ndarray, bank: Bank, *arrays: np.ndarray
) -> np.ndarray:
    """Return what a function makes of the cosines with the bank, and of arrays (N, …) beside them: shape (N,).

    It is called with blocks of rows, see `oodgrid.score.products`. On a CPU scores share the cosines; a GPU makes them
    for each score again, in less time than it takes to copy them.
    """
    if not is_on_device():
        return by_rows(function, similarities(features, bank), *arrays)

    def of_block(rows: Block, *others: Block) -> Block:
        return function(product(rows, bank.directions, bank.precision), *others)

    return on_device(of_block, directions(features), *arrays, width=len(bank.features))
