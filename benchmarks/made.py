"""Made-up features of a study: unit features around class centres (ID), wider ones (OOD), texts, shots and a head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oodgrid.score.contract import Head, normalise
from oodgrid.score.sharing import frozen


@dataclass(frozen=True)
class Sizes:
    """How much of everything there is.

    Attributes:
        own: ID samples of the whole study.
        ood: OOD samples.
        classes: Classes.
        width: Dimensions of a feature.
        shots: Per class.
        val: Validation samples per class.
        texts: Candidates of a label list.
        alone: Samples on which each score is timed alone.
        beside: Samples on which it is timed beside a peer.
        stream: Samples of a stream.
        stream_peer: Samples of the stream that a peer is given.
        epochs: Of an adapter's epochs, how many are timed.
    """

    own: int = 50_000
    ood: int = 35_640
    classes: int = 1_000
    width: int = 512
    shots: int = 16
    val: int = 4
    texts: int = 10_000
    alone: int = 4_096
    beside: int = 8_192
    stream: int = 60_000
    stream_peer: int = 256
    epochs: int = 3


SMALL = Sizes(
    own=600, ood=400, classes=20, width=32, shots=4, texts=60, alone=512, beside=512, stream=600, stream_peer=64
)


@dataclass(frozen=True)
class Study:
    """What scores are given; arrays closed to writing.

    Attributes:
        features: Shape (N, D), float64, normalised: of ID samples, then of OOD samples.
        logits: Shape (N, K), float64: cosines.
        labels: Of the ID samples.
        bank: Shape (M, D), likewise normalised, with `bank_labels`.
        val: Shape (V, D), likewise, with `val_labels`.
        head: Texts of the classes, without bias.
        shots: Per class.
    """

    features: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    bank: np.ndarray
    bank_labels: np.ndarray
    val: np.ndarray
    val_labels: np.ndarray
    head: Head
    shots: int


def study(sizes: Sizes, own: int, ood: int) -> Study:
    """Return so many samples, with all shots and validation samples."""
    rng = np.random.default_rng(0)
    centres = normalise(rng.normal(size=(sizes.classes, sizes.width)))

    def around(labels: np.ndarray, noise: float) -> np.ndarray:
        scattered = centres[labels] + noise / sizes.width**0.5 * rng.normal(size=(len(labels), sizes.width))
        return frozen(normalise(scattered.astype(np.float32)))

    def each(count: int) -> np.ndarray:
        return np.repeat(np.arange(sizes.classes, dtype=np.int32), count)

    labels = (np.arange(own) % sizes.classes).astype(np.int32)
    others = around(rng.integers(sizes.classes, size=ood), 4.0)
    texts = normalise((centres + 0.5 / sizes.width**0.5 * rng.normal(size=centres.shape)).astype(np.float32))
    head = Head(frozen(texts), frozen(np.zeros(sizes.classes)))
    features = frozen(np.concatenate([around(labels, 1.5), others]))
    bank, val = around(each(sizes.shots), 1.5), around(each(sizes.val), 1.5)
    logits = frozen(head.logits(features))
    return Study(features, logits, labels, bank, each(sizes.shots), val, each(sizes.val), head, sizes.shots)
