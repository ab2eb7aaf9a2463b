"""CLIP-Adapter against its formula in loops, and its training against a plain one in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodgrid import registry
from oodgrid.adapt.contract import Diverged, Skip
from oodgrid.errors import OodgridError


def method(**params):
    return registry.find("method", "clip_adapter").make(**params)


def naive_change(features, first, second, ratio):
    changed = []
    for x in features.tolist():
        hidden = [max(0.0, sum(w * v for w, v in zip(row, x, strict=True))) for row in first.tolist()]
        out = [max(0.0, sum(w * v for w, v in zip(row, hidden, strict=True))) for row in second.tolist()]
        changed.append([ratio * new + (1 - ratio) * old for new, old in zip(out, x, strict=True)])
    return np.array(changed)


@pytest.mark.parametrize("ratio", [0.0, 0.2, 1.0])
def test_changed_features_against_the_formula(few_shot, ratio):
    data, rng = few_shot(), np.random.default_rng(0)
    weights = {"first": rng.normal(size=(4, 16)), "second": rng.normal(size=(16, 4))}
    learned = {name: values.astype(np.float32) for name, values in weights.items()}
    classifier = method(ratio=ratio).classifier({**learned, "prototypes": data.text.prototypes}, data.text)
    expected = naive_change(data.val, learned["first"], learned["second"], ratio)
    np.testing.assert_allclose(classifier.change(data.val), expected, rtol=1e-5, atol=1e-4)


def test_ratio_zero_leaves_features_alone_so_that_logits_are_cosines_with_the_text(few_shot):
    data = few_shot()
    made = method(ratio=0.0, epochs=2)
    classifier = made.classifier(made.fit(data).arrays, data.text)
    np.testing.assert_array_equal(classifier.change(data.val), data.val)
    np.testing.assert_array_equal(classifier.prototypes, data.text.prototypes)


def test_the_change_sees_the_norm_of_a_feature(few_shot):
    """relu(W2 relu(W1 x)) grows with x: as long as the norms are the backbone's own, so is the mixture."""
    data = few_shot()
    made = method(epochs=2)
    change = made.classifier(made.fit(data).arrays, data.text).change
    np.testing.assert_allclose(change(3 * data.val), 3 * change(data.val), rtol=1e-5, atol=1e-4)


def naive_training(data, first, second, epochs, lr, ratio):
    """SGD with momentum on all shots in one batch, at CoOp's rates, in float64."""
    x, y = torch.from_numpy(data.train).double(), torch.from_numpy(data.train_labels).long()
    text = torch.from_numpy(data.text.prototypes).double()
    weights = [torch.from_numpy(values).double().requires_grad_(True) for values in (first, second)]
    optimiser = torch.optim.SGD(weights, lr=lr, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs):
        rate = 1e-5 if epoch == 0 else lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
        optimiser.param_groups[0]["lr"] = rate
        mixed = ratio * torch.relu(torch.relu(x @ weights[0].T) @ weights[1].T) + (1 - ratio) * x
        cosines = (mixed / mixed.norm(dim=1, keepdim=True)) @ text.T
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(100 * cosines, y).backward()
        optimiser.step()
    return [weight.detach().numpy() for weight in weights]


def test_weights_after_training_against_float64(few_shot):
    data = few_shot()
    start = method(lr=0.0, epochs=1).fit(data).arrays  # weight decay is scaled by the rate of 1e-5 of the warm-up
    learned = method(epochs=6, lr=0.1).fit(data).arrays
    expected = naive_training(data, start["first"], start["second"], 6, 0.1, 0.2)
    for name, values in zip(("first", "second"), expected, strict=True):
        np.testing.assert_allclose(learned[name], values, atol=2e-3)
        assert np.abs(learned[name] - start[name]).max() > 5e-2, "training must have moved the weights"


def test_initial_weights_are_those_of_a_linear_layer_s_default(few_shot):
    """Uniform within one over the root of the inputs, as torch draws layers without bias."""
    start = method(lr=0.0, epochs=1).fit(few_shot()).arrays
    assert start["first"].shape == (4, 16)
    assert start["second"].shape == (16, 4)
    for name, bound in (("first", 1 / 4), ("second", 1 / 2)):
        assert 0.8 * bound < np.abs(start[name]).max() <= bound * 1.001
        assert start[name].min() < 0 < start[name].max()


def test_training_reduces_the_loss(few_shot):
    losses = method(epochs=30, lr=0.02).fit(few_shot(classes=4)).info["losses"]
    assert len(losses) == 30
    assert losses[-1] < 0.8 * losses[0]


def test_equal_seeds_are_bit_identical_and_seeds_differ(few_shot):
    runs = [method(epochs=3, batch=4).fit(few_shot(seed=seed)).arrays for seed in (1, 1, 2)]
    for name in ("first", "second"):
        np.testing.assert_array_equal(runs[0][name], runs[1][name])
        assert not np.array_equal(runs[0][name], runs[2][name])


def test_lost_norms_are_noted(few_shot):
    assert method(epochs=1).fit(few_shot()).info["notes"] is None
    assert "norms" in method(epochs=1).fit(few_shot(normalised=True)).info["notes"]


def test_features_too_narrow_for_a_quarter_are_skipped(few_shot):
    data = few_shot()
    with pytest.raises(Skip, match="3 dimensions are too small"):
        method().fit(few_shot(train=data.train[:, :3]))


def test_a_training_that_explodes_says_so(few_shot):
    with pytest.raises(Diverged, match=r"the loss became (nan|inf) in epoch \d+"):
        method(lr=1e30).fit(few_shot())


@pytest.mark.parametrize(("key", "value"), [("ratio", 1.5), ("ratio", -0.1), ("epochs", 0), ("batch", 0), ("lr", -1)])
def test_values_that_make_no_sense_are_refused(key, value):
    with pytest.raises(OodgridError, match=f"method clip_adapter: {key} = {value} does not fit"):
        registry.check_params("method", "clip_adapter", {key: value})
