"""Tip-Adapter and Tip-Adapter-F against the formula in loops, and against torch's own training pieces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodgrid import registry
from oodgrid.adapt.contract import Diverged
from oodgrid.adapt.methods import tip_adapter


def method(name="tip_adapter", **params):
    return registry.find("method", name).make(**params)


def unit_norm(values):
    values = values.astype(np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def naive_logits(x, prototypes, keys, labels, beta, alpha):
    """cos(x, t_k) + alpha / 100 * sum over the shots of class k of exp(-beta (1 - cos(x, key)))."""
    rows = []
    for sample in x.tolist():
        row = [sum(a * b for a, b in zip(sample, prototype, strict=True)) for prototype in prototypes.tolist()]
        for key, label in zip(keys.tolist(), labels.tolist(), strict=True):
            similarity = sum(a * b for a, b in zip(sample, key, strict=True))
            row[label] += alpha / 100 * math.exp(-beta * (1 - similarity))
        rows.append(row)
    return np.array(rows)


def logits_of(made, data, features):
    return made.classifier(made.fit(data).arrays, data.text).logits(features)


def naive_of(data, features, beta, alpha):
    x, keys = unit_norm(features), unit_norm(data.train)
    return naive_logits(x, data.text.prototypes, keys, data.train_labels, beta, alpha)


def share_right(logits, labels):
    return float(np.mean(logits.argmax(axis=1) == labels))


# ------------------------------------------------------------------------------------------------ tip_adapter


@pytest.mark.parametrize(("beta", "alpha"), [(1.0, 1.17), (5.5, 1.0), (0.1, 30.0), (7.0, 3.0)])
def test_logits_against_the_formula(few_shot, beta, alpha):
    data = few_shot()
    got = logits_of(method(beta=beta, alpha=alpha), data, data.val)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, naive_of(data, data.val, beta, alpha), atol=2e-6)


def test_alpha_zero_is_the_cosine_with_the_text(few_shot):
    data = few_shot()
    got = logits_of(method(beta=1, alpha=0), data, data.val)
    np.testing.assert_allclose(got, unit_norm(data.val) @ data.text.prototypes.T, atol=1e-6)


def test_a_hundred_times_the_logits_is_the_published_sum(few_shot):
    """With x a shot and beta huge, the affinity is 1 for its own class: the published logit grows by alpha."""
    data = few_shot(shots=1)
    got = 100 * logits_of(method(beta=1e4, alpha=2.5), data, data.train)
    cosines = 100 * unit_norm(data.train) @ data.text.prototypes.T
    np.testing.assert_allclose(got - cosines, 2.5 * np.eye(3), atol=1e-2)


def test_logits_do_not_see_the_norms_of_shots_and_samples(few_shot):
    data = few_shot()
    scale = np.linspace(0.1, 9, len(data.train), dtype=np.float32)[:, None]
    first, second = (logits_of(method(beta=2, alpha=1), given, x) for given, x in
                     [(data, data.val), (few_shot(train=data.train * scale), data.val * np.float32(7))])  # fmt: skip
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_without_validation_the_published_values_stand_in(few_shot):
    data = few_shot(val_shots=0)
    for params, pair in [({}, (1, 1.17)), ({"alpha": 3.0}, (1, 3)), ({"beta": 2.0}, (2, 1.17))]:
        info = method(**params).fit(data).info
        assert (info["beta"], info["alpha"], info["val_accuracy"], info["val_labels_used"]) == (*pair, None, 0)


@pytest.mark.parametrize("name", ["tip_adapter", "tip_adapter_f"])
def test_beta_and_alpha_are_chosen_on_validation_the_smallest_of_equals(few_shot, monkeypatch, name):
    betas, alphas = [0.1, 3.05, 6.0], [0.1, 200.05, 400.0]
    monkeypatch.setattr(tip_adapter, "STEPS", (3, 3))
    data = few_shot(classes=4, val_shots=10, spread=1.2)
    reached = {
        (beta, alpha): share_right(naive_of(data, data.val, beta, alpha), data.val_labels)
        for beta in betas
        for alpha in alphas
    }
    best = min(pair for pair in reached if reached[pair] == max(reached.values()))
    assert len(set(reached.values())) > 2, "the case must tell the candidates apart"
    assert best not in [(0.1, 0.1), (6.0, 400.0)]
    still = {"lr": 0.0, "epochs": 1} if name == "tip_adapter_f" else {}
    info = method(name, beta_to=6.0, alpha_to=400.0, **still).fit(data).info
    assert (info["beta"], info["alpha"]) == pytest.approx(best)
    assert info["val_accuracy"] == pytest.approx(reached[best])
    assert info["val_labels_used"] == 40


def test_a_given_value_is_kept_while_the_other_is_chosen(few_shot):
    data = few_shot(classes=4, val_shots=10, spread=1.2)
    info = method(alpha=2.5).fit(data).info
    assert info["alpha"] == 2.5
    assert info["beta"] in np.linspace(0.1, 7, 40)
    assert method(alpha=2.5, beta=0.0).fit(data).info["beta"] == 0


def test_the_grid_is_the_published_range_for_imagenet():
    assert (tip_adapter.LOWEST, tip_adapter.STEPS) == (0.1, (40, 20))
    for name in ("tip_adapter", "tip_adapter_f"):
        assert (method(name).beta_to, method(name).alpha_to) == (7, 3)


# ---------------------------------------------------------------------------------------------- tip_adapter_f


def test_a_learning_rate_of_zero_is_tip_adapter(few_shot):
    data = few_shot()
    got, expected = (logits_of(made, data, data.val) for made in (method("tip_adapter_f", lr=0.0), method()))
    np.testing.assert_array_equal(got, expected)


def test_epoch_zero_is_tip_adapter(few_shot):
    """Where training spoils the keys, validation takes the epoch before training."""
    data = few_shot(classes=4, val_shots=10)
    data = few_shot(classes=4, val=data.train, val_labels=data.train_labels)  # tip_adapter is right on its own keys
    made = method("tip_adapter_f", lr=10.0, epochs=3, alpha=100.0, beta=1.0)
    learned = made.fit(data)
    assert learned.info["epoch"] == 0
    assert learned.info["val_accuracies"][0] == 1.0
    assert len(learned.info["val_accuracies"]) == 4
    np.testing.assert_array_equal(learned.arrays["keys"], method().fit(data).arrays["keys"])


def test_training_reduces_the_loss_and_moves_the_keys(few_shot):
    data = few_shot(classes=4, val_shots=0)
    learned = method("tip_adapter_f", epochs=10, lr=0.01).fit(data)
    losses = learned.info["losses"]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    assert not np.allclose(learned.arrays["keys"], method().fit(data).arrays["keys"])


def naive_training(data, epochs, lr, beta, alpha):
    """Keys before and after every epoch of AdamW on all shots in one batch, with a cosine of as many steps; float64."""
    x, y = torch.from_numpy(unit_norm(data.train)), torch.from_numpy(data.train_labels).long()
    text = torch.from_numpy(data.text.prototypes).double()
    layer = torch.nn.Linear(*reversed(x.shape), bias=False).double()
    layer.weight = torch.nn.Parameter(x.clone())
    optimiser = torch.optim.AdamW(layer.parameters(), lr=lr, eps=1e-4)
    one_hot = torch.eye(len(text)).double()[y]
    history = [x.numpy()]
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        logits = 100 * x @ text.T + alpha * (-beta + beta * layer(x)).exp() @ one_hot
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, y).backward()
        optimiser.step()
        history.append(layer.weight.detach().numpy().copy())
    return history


@pytest.mark.parametrize(("beta", "alpha"), [(None, None), (3.0, 2.0), (1.0, 0.0)])
def test_keys_after_training_against_a_linear_layer_in_float64(few_shot, beta, alpha):
    data = few_shot(val_shots=0)
    learned = method("tip_adapter_f", beta=beta, alpha=alpha, epochs=5, lr=0.01).fit(data)
    used = (1.0 if beta is None else beta, 1.17 if alpha is None else alpha)
    expected = naive_training(data, 5, 0.01, *used)[-1]
    np.testing.assert_allclose(learned.arrays["keys"], expected, atol=1e-4)
    assert (learned.info["beta"], learned.info["alpha"]) == used


def test_without_validation_the_last_epoch_counts(few_shot):
    data = few_shot(val_shots=0)
    info = method("tip_adapter_f", epochs=3).fit(data).info
    assert (info["epoch"], info["val_accuracies"], info["beta"], info["alpha"]) == (3, [], 1.0, 1.17)


def test_the_chosen_epoch_is_the_first_of_the_best_on_validation(few_shot):
    data = few_shot(classes=4, val_shots=10, spread=1.2)
    learned = method("tip_adapter_f", epochs=8, lr=0.05, alpha=20.0, beta=1.0).fit(data)
    history, val = naive_training(data, 8, 0.05, 1.0, 20.0), unit_norm(data.val)
    made = [naive_logits(val, data.text.prototypes, keys, data.train_labels, 1.0, 20.0) for keys in history]
    expected = [share_right(logits, data.val_labels) for logits in made]
    assert len(set(expected)) > 2, "the case must tell the epochs apart"
    assert learned.info["val_accuracies"] == pytest.approx(expected)
    best = expected.index(max(expected))
    assert 0 < best < 8, "the case must stop early"
    assert learned.info["epoch"] == best
    assert learned.info["val_accuracy"] == pytest.approx(max(expected))
    np.testing.assert_allclose(learned.arrays["keys"], history[best], atol=1e-3)


def test_every_shot_is_seen_in_every_epoch(few_shot):
    """Tip-Adapter's loader keeps the last incomplete batch: 12 shots in batches of 8 are two steps."""
    data = few_shot(val_shots=0)
    whole = method("tip_adapter_f", epochs=1, batch=8, lr=0.01).fit(data)
    moved = np.abs(whole.arrays["keys"] - method().fit(data).arrays["keys"]).max()
    assert moved > 0.0105  # one step of AdamW moves a weight by at most its rate (and its decay); two move it more


def test_equal_seeds_are_bit_identical_and_seeds_differ(few_shot):
    runs = [
        method("tip_adapter_f", epochs=3, batch=4).fit(few_shot(seed=seed, val_shots=0)).arrays["keys"]
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_a_training_that_explodes_says_so(few_shot):
    with pytest.raises(Diverged, match=r"the loss became (nan|inf) in epoch \d+"):
        method("tip_adapter_f", lr=1e30).fit(few_shot())
