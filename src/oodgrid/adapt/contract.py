"""What a fine-tuning method learns from, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from oodgrid.errors import Skip
from oodgrid.labels import accuracy as labelled_accuracy
from oodgrid.labels import has_class
from oodgrid.vectors import normalise

if TYPE_CHECKING:
    from oodgrid.store import StoredRows
    from oodgrid.text_tower import TextTower

Arrays = dict[str, np.ndarray]


class Diverged(Exception):
    """A fit whose loss, parameters or results are not finite any more; its message says which."""


@dataclass(frozen=True)
class TextSide:
    """The text side of the ID classes; of a method that needs no text, it may be empty.

    Attributes:
        prototypes: Shape (K, D), float32, unit norm: mean over templates of the normalised text embeddings.
            Where the configuration says `text: visual_prototypes`, the class means of the shots; (0, 0) where
            there is neither.
        classnames: K names; empty where there are no texts.
        tower: Loads the text tower for prompts that are not plain text.
        embeddings: Shape (T, K, D), float32, not normalised: of every template; T = 0 where there are no texts.
    """

    prototypes: np.ndarray
    classnames: Sequence[str]
    tower: Callable[[], TextTower]
    embeddings: np.ndarray = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))


@dataclass(frozen=True)
class Outliers:
    """The training split of an OOD set of pairs: what a fit may learn OOD from. It is no test file.

    Attributes:
        name: Of the set.
        images: Shape (O, D), float32, not normalised unless an import has lost the norms.
        texts: Shape (O, D), likewise.
    """

    name: str
    images: np.ndarray
    texts: np.ndarray


@dataclass(frozen=True)
class PseudoTexts:
    """Texts out of distribution that were made of the shots.

    Attributes:
        rows: Shape (P,): of which row of the shots each was made.
        features: Shape (P, D), float32, not normalised.
    """

    rows: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class FitData:
    """All that a fit may see: shots, few-shot validation and text; never a test file.

    Attributes:
        train: Shape (M, D), float32, not normalised unless `normalised`.
        train_labels: Shape (M,).
        val: Shape (V, D); V = 0 where there is no validation split.
        val_labels: Shape (V,).
        classes: Number of classes K.
        shots: Images per class; 0 for methods without.
        seed: Seed of everything random in the fit.
        normalised: Whether an import has lost the norms.
        train_views: Shape (M, V, D): augmented views of the shots; None where the method names no family of them.
        train_local: Shape (M, V, P, D), in the precision of the file: local features of the views, or of the images
            themselves where the method names no family (V = 1); None where the method does not need them. They may be
            in their file still: `[rows, views]` reads what a batch takes.
        head: Of the network's own classification head, `weights` (K, D) and `bias` (K,), float32; None without one.
        train_texts: Shape (M, D): of pairs, the features of the text of each shot; None where the samples are no pairs.
        outliers: Of each OOD set of pairs with a training split, all of it; only for methods that need outliers.
        parts: Of a method that combines others, the names of these.
        pseudo_ood: Texts out of distribution made of the shots; None where the method names no recipe of them.
    """

    text: TextSide
    classes: int
    train: np.ndarray
    train_labels: np.ndarray
    val: np.ndarray
    val_labels: np.ndarray
    shots: int
    seed: int
    normalised: bool = False
    train_views: np.ndarray | None = None
    train_local: np.ndarray | StoredRows | None = None
    head: Arrays | None = None
    train_texts: np.ndarray | None = None
    outliers: tuple[Outliers, ...] = ()
    parts: tuple[str, ...] = ()
    pseudo_ood: PseudoTexts | None = None


@dataclass(frozen=True)
class Learned:
    """What a fit leaves.

    Attributes:
        arrays: Learned parameters, and whatever `apply` needs.
        info: For people: chosen hyper-parameters, validation accuracy, losses, notes.
        remarks: What tables must say of the fit, each a part of a sentence without a semicolon.
    """

    arrays: Arrays
    info: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Classifier:
    """The least from which logits, on the cosine scale, can be computed for any features.

    Attributes:
        prototypes: Shape (K, D): logits are normalised features · prototypes + bias; of a method that is registered
            with `normalises=False`, features as cached. Unit vectors where logits are cosines; of a probe its weights
            on the cosine scale, which are no directions and come with a bias.
        bias: Shape (K,), or None.
        change: For methods that change features: (N, D) as cached to (N, D).
        logits: Only where neither is enough: features (N, D) as cached to logits (N, K).
        local_logits: Where the patches of an image count too: features (N, D) and local features (N, P, D) as cached to
            logits (N, K).
        negatives: Shape (K, n, D), unit norm: what each class is not, for scores that ask for it.
        of_pairs: Of methods on pairs: features of images and of their texts (N, D), as cached, to the arrays
            `features` (N, D) and `pair_texts` (N, D), as changed, and `pair_logits` (N,) of a classifier of pairs.
    """

    prototypes: np.ndarray
    bias: np.ndarray | None = None
    change: Callable[[np.ndarray], np.ndarray] | None = None
    logits: Callable[[np.ndarray], np.ndarray] | None = None
    local_logits: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    negatives: np.ndarray | None = None
    of_pairs: Callable[[np.ndarray, np.ndarray], Arrays] | None = None


class Method(Protocol):
    """A fine-tuning method: a frozen dataclass of hyper-parameters, registered by `oodgrid.registry.method`."""

    def fit(self, data: FitData) -> Learned:
        """Learn. May raise Skip or Diverged."""
        ...

    def classifier(self, learned: Arrays, text: TextSide) -> Classifier:
        """Turn what was learned into a classifier."""
        ...


class Combination(Method, Protocol):
    """A method that combines others of the experiment, those that its parameter `of` names: it needs "parts"."""

    def combine(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return logits (n, K) of those that each part leaves of the same samples, (n, K), float64."""
        ...


def text_prototypes(embeddings: np.ndarray) -> np.ndarray:
    """Return the normalised mean over T templates of the normalised embeddings (T, K, D), shape (K, D)."""
    return normalise(normalise(embeddings).mean(axis=0))


def class_means(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the normalised mean of the normalised features of each class, shape (K, D).

    Samples of no class, label -1, count nowhere.

    Raises:
        Skip: A class has no sample.
    """
    features, labels = features[has_class(labels)], labels[has_class(labels)]
    check_every_class(labels, classes)
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, labels, normalise(features.astype(np.float64)))
    return normalise(sums).astype(np.float32)


def check_every_class(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return how many samples each class has, shape (K,), of labels (N,) without -1.

    Raises:
        Skip: A class has none.
    """
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        raise Skip(f"class {int(np.argmin(counts))} has no training sample")
    return counts


def check_finite(arrays: Arrays, what: str) -> None:
    """Raise Diverged where a number is NaN or infinite, naming the array."""
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise Diverged(f"the {name} {what} are not finite")


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of the labelled rows of (N, K) whose largest entry is the label's; NaN where there are none."""
    share = labelled_accuracy(logits.argmax(axis=1), labels)
    return float("nan") if share is None else share
