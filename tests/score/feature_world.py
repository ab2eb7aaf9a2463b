"""Small worlds of features, logits, head and bank for the tests of scores of features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oodgrid import registry
from oodgrid.score.contract import Bank, Head, normalise

NAMES = [
    *("mahalanobis", "relative_mahalanobis", "single_gaussian", "knn", "she", "nnguide", "fdbd", "ora"),
    *("nci", "neco", "caref", "cadref", "residual", "vim", "relation"),
]


@dataclass(frozen=True)
class World:
    """What a score may need, under the names of the contract."""

    features: np.ndarray
    logits: np.ndarray
    head: Head
    bank: Bank

    def rows(self, rows):
        """Return the same with some of the samples."""
        return replace(self, features=self.features[rows], logits=self.logits[rows])

    def with_bank(self, features, labels, shots=None):
        """Return the same with another bank, its logits made by the head."""
        bank = Bank(features, labels, shots or self.bank.shots, self.head.logits(features))
        return replace(self, bank=bank)


def score(name, world, **params):
    """Compute a score by its name."""
    entry = registry.find("score", name)
    return entry.make(*(getattr(world, need) for need in entry.needs), **params)


def sample(seed, count, width=8):
    """Return random unit rows that share a mean, as CLIP's features do."""
    return normalise(np.random.default_rng(seed).normal(size=(count, width)) + 0.5)


def bank_of(shots=4, classes=5, width=8, seed=7):
    """Return shots scattered around class centres, their rows in no order of classes; without logits."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), shots))
    centres = rng.normal(size=(classes, width))
    return Bank(normalise(centres[labels] + 0.4 * rng.normal(size=(len(labels), width))), labels, shots)


def world_of(features, weights, bank_features, labels, shots, bias=0.0):
    """Return a world of given features, weights and bank."""
    head = Head(weights, np.full(len(weights), bias) if np.isscalar(bias) else bias)
    return World(features, head.logits(features), head, Bank(bank_features, labels, shots, head.logits(bank_features)))


def world(shots=4, classes=5, width=8, samples=30, seed=0, noise=0.4, bias=0.0):
    """Return a world whose head is the class centres, moved a little; its logits are cosines (with a bias, if any)."""
    rng = np.random.default_rng(seed)
    centres = normalise(rng.normal(size=(classes, width)) + 0.3)
    labels = rng.permutation(np.repeat(np.arange(classes), shots))
    bank = normalise(centres[labels] + noise * rng.normal(size=(len(labels), width)))
    queries = normalise(centres[rng.integers(0, classes, samples)] + 2 * noise * rng.normal(size=(samples, width)))
    return world_of(queries, normalise(centres + 0.2 * rng.normal(size=centres.shape)), bank, labels, shots, bias)
