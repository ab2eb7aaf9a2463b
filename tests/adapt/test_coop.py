"""CoOp: its training against a plain one on open_clip's whole prompts, its recipe, and its seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodgrid import registry
from oodgrid.adapt.contract import Diverged
from oodgrid.errors import OodgridError
from tests.adapt.plain import whole_prompts

NAMES = ["red fox", "sea_otter", "owl"]


def method(**params):
    return registry.find("method", "coop").make(**params)


def plain_training(tower, data, start, epochs, lr):
    """SGD on all shots in one batch at the published rates; returns context and losses."""
    x = data.train.astype(np.float64)
    x = torch.from_numpy(x / np.linalg.norm(x, axis=1, keepdims=True)).float()
    y = torch.from_numpy(data.train_labels).long()
    context = torch.from_numpy(start.copy()).requires_grad_(True)
    optimiser = torch.optim.SGD([context], lr=lr, momentum=0.9, weight_decay=5e-4)
    losses = []
    for epoch in range(epochs):
        rate = 1e-5 if epoch == 0 else lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
        optimiser.param_groups[0]["lr"] = rate
        logits = tower.loaded.model.logit_scale.exp() * x @ whole_prompts(tower, context, data.text.classnames).T
        loss = torch.nn.functional.cross_entropy(logits, y)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return context.detach().numpy(), losses


def test_context_after_training_against_whole_prompts(few_shot, tower):
    data = few_shot(tower=tower, names=NAMES)
    start = method(context_tokens=4, lr=0.0, epochs=1).fit(data).arrays["context"]  # after one step at 1e-5
    learned = method(context_tokens=4, lr=0.5, epochs=6).fit(data)
    expected, losses = plain_training(tower, data, start, 6, 0.5)
    moved = np.abs(learned.arrays["context"] - start).max()
    assert moved > 0.05
    np.testing.assert_allclose(learned.arrays["context"], expected, rtol=0, atol=0.01 * moved)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-3)


def test_prototypes_are_the_embeddings_of_the_class_names_under_the_context(few_shot, tower):
    data = few_shot(tower=tower, names=NAMES)
    made = method(context_tokens=3, epochs=2)
    learned = made.fit(data)
    classifier = made.classifier(learned.arrays, data.text)
    with torch.no_grad():
        expected = whole_prompts(tower, torch.from_numpy(learned.arrays["context"]), NAMES).numpy()
    np.testing.assert_allclose(classifier.prototypes, expected, atol=1e-6)
    assert (classifier.bias, classifier.change, classifier.logits) == (None, None, None)


def test_training_reduces_the_loss(few_shot, tower):
    losses = method(context_tokens=4, lr=0.5, epochs=15).fit(few_shot(tower=tower, names=NAMES)).info["losses"]
    assert losses[-1] < 0.8 * losses[0]


def test_equal_seeds_are_bit_identical_and_seeds_differ(few_shot, tower):
    runs = [
        method(epochs=3, batch=4).fit(few_shot(tower=tower, names=NAMES, seed=seed)).arrays["context"]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_the_context_starts_as_the_published_noise(few_shot, tower):
    context = method(context_tokens=64, lr=0.0, epochs=1).fit(few_shot(tower=tower, names=NAMES)).arrays["context"]
    assert context.shape == (64, 64)
    assert context.std() == pytest.approx(0.02, rel=0.05)
    assert context.mean() == pytest.approx(0, abs=0.002)


class OneLayerTower:
    """What CoOp needs of a text tower, small enough for the 200 epochs of the published recipe."""

    width, logit_scale, device, note = 4, 100.0, "cpu", None

    def at(self, precision):
        return self

    def prompts(self, names, position):
        return torch.eye(16)[: len(names)]

    def encode(self, context, prompts):
        return torch.nn.functional.normalize(prompts + context.sum(), dim=-1)


@pytest.mark.parametrize(("shots", "epochs"), [(1, 50), (2, 100), (4, 100), (8, 200), (16, 200)])
def test_epochs_of_the_published_recipe(few_shot, shots, epochs):
    info = method().fit(few_shot(shots=shots, classes=2, tower=OneLayerTower())).info
    assert info["epochs"] == len(info["losses"]) == epochs


def test_the_default_has_sixteen_tokens(few_shot, tower):
    learned = method(epochs=1).fit(few_shot(tower=tower, names=NAMES))
    assert learned.arrays["context"].shape == (16, 64)


def test_validation_is_not_looked_at(few_shot, tower):
    given = {"tower": tower, "names": NAMES}
    first, second = (method(epochs=2).fit(few_shot(val_shots=v, **given)).arrays["context"] for v in (0, 4))
    np.testing.assert_array_equal(first, second)


def test_a_training_that_explodes_says_so(few_shot, tower):
    with pytest.raises(Diverged, match=r"the loss became (nan|inf) in epoch 3"):
        method(lr=1e30, epochs=5).fit(few_shot(tower=tower, names=NAMES))


@pytest.mark.parametrize("key", ["context_tokens", "epochs", "batch"])
def test_counts_must_be_positive(key):
    with pytest.raises(OodgridError, match=f"method coop: {key} = 0 does not fit"):
        registry.check_params("method", "coop", {key: 0})
