"""OPSupCon: its loss against loops, its identities, and what it does on a toy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodgrid import registry
from oodgrid.adapt.contract import normalise
from oodgrid.adapt.methods.opsupcon import contrast, mixtures
from tests.adapt.plain import unit


def method(**params):
    return registry.find("method", "opsupcon").make(**params)


def supcon(z, labels, outliers, tau):
    """Khosla et al. 2020, equation 2, with outliers among the others."""
    total, having = 0.0, 0
    for i in range(len(z)):
        partners = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        if not partners:
            continue
        others = [math.exp(z[i] @ z[a] / tau) for a in range(len(z)) if a != i]
        others += [math.exp(z[i] @ o / tau) for o in outliers]
        total += -sum(math.log(math.exp(z[i] @ z[p] / tau) / sum(others)) for p in partners) / len(partners)
        having += 1
    return total / having


@pytest.mark.parametrize("count", [0, 4])
def test_the_contrast_against_loops(count):
    rng = np.random.default_rng(1)
    z, outliers = unit(rng.normal(size=(7, 5))), unit(rng.normal(size=(count, 5)) if count else np.empty((0, 5)))
    labels = torch.tensor([0, 0, 1, 2, 1, 0, 3])  # 2 and 3 have no partner
    got = contrast(z, labels, outliers, 0.1).item()
    assert got == pytest.approx(supcon(z.numpy(), labels.tolist(), outliers.numpy(), 0.1), rel=1e-9)


def test_outliers_raise_the_contrast_and_its_gradient_is_right():
    rng = np.random.default_rng(2)
    z, outliers = unit(rng.normal(size=(6, 4))), unit(rng.normal(size=(3, 4)))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    assert contrast(z, labels, outliers, 0.1) > contrast(z, labels, outliers[:0], 0.1)
    wanted = (z.requires_grad_(True), outliers.requires_grad_(True))
    assert torch.autograd.gradcheck(lambda a, o: contrast(a, labels, o, 0.5), wanted)


def test_a_batch_without_partners_costs_nothing():
    z = unit(np.eye(3)).requires_grad_(True)
    loss = contrast(z, torch.tensor([0, 1, 2]), z[:0], 0.1)
    loss.backward()
    assert loss.item() == 0


def test_mixtures_lie_between_two_classes():
    x, labels = unit(np.eye(4)), torch.tensor([0, 0, 1, 1])
    made = mixtures(x, labels, 200, torch.Generator().manual_seed(0))
    assert 60 < len(made) < 140  # half of the pairs have two classes
    np.testing.assert_allclose(made.norm(dim=1), 1)
    of_first = made[:, :2].sum(dim=1) / made.sum(dim=1)
    assert of_first.min() > 0.29
    assert of_first.max() < 0.71


def test_training_pushes_mixtures_away_from_the_prototypes(few_shot):
    data = few_shot(shots=8, classes=3, spread=0.3)
    made = method(epochs=40, lr=0.1)
    learned = made.fit(data)
    classifier = made.classifier(learned.arrays, data.text)
    x = torch.from_numpy(normalise(data.train))
    mixed = mixtures(x, torch.from_numpy(data.train_labels), 300, torch.Generator().manual_seed(7)).numpy()

    def gap(features, mixed, prototypes):
        own = (normalise(features) @ prototypes.T).max(axis=1).mean()
        return own - (normalise(mixed) @ prototypes.T).max(axis=1).mean()

    before = gap(data.train, mixed, data.text.prototypes)
    after = gap(classifier.change(data.train), classifier.change(mixed), classifier.prototypes)
    assert after > before + 0.05
    assert learned.info["losses"][-1] < learned.info["losses"][0]


def test_an_untrained_adapter_changes_nothing_but_the_length(few_shot):
    data = few_shot()
    made = method(epochs=1, lr=0)
    arrays = made.fit(data).arrays
    np.testing.assert_allclose(
        made.classifier(arrays, data.text).change(data.val), normalise(data.val), rtol=0, atol=1e-3
    )
