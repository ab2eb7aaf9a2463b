"""Tip-Adapter and Tip-Adapter-F against the formula in loops, and against torch's own training pieces."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from oodgrid import registry
from oodgrid.adapt.contract import Diverged, TextSide
from oodgrid.adapt.methods import tip_adapter
from oodgrid.adapt.search import around


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


def ratios(low, high, count):
    return [low * (high / low) ** (step / (count - 1)) for step in range(count)]


def chosen_by_hand(data, betas, alphas):
    """The best pair of a grid, and of a finer one between its neighbours where that has a better one."""
    best = (0, 0, -1)
    for _ in ("coarse", "fine"):
        for beta in betas:
            for alpha in alphas:
                reached = share_right(naive_of(data, data.val, beta, alpha), data.val_labels)
                best = (beta, alpha, reached) if reached > best[2] else best
        rows = [
            min(range(len(grid)), key=lambda i: abs(grid[i] - best[axis])) for axis, grid in enumerate((betas, alphas))
        ]
        betas, alphas = (
            ratios(grid[max(row - 1, 0)], grid[min(row + 1, len(grid) - 1)], 7)
            for row, grid in zip(rows, (betas, alphas), strict=True)
        )
    return best


def random_problem(seed):
    """Classes of unequal numbers of shots, one of none, in no order; more validation images than a block has."""
    rng = np.random.default_rng(seed)
    classes, width, count = rng.integers(3, 8), rng.integers(4, 64), rng.integers(40, 400)
    centres = rng.normal(size=(classes, width))
    labels = rng.permutation(np.repeat(np.arange(1, classes), rng.integers(1, 6, classes - 1)))
    val_labels = rng.integers(-1, classes, count)
    train, val = (centres[rows] + rng.uniform(0.5, 3) * rng.normal(size=(len(rows), width))
                  for rows in (labels, val_labels))  # fmt: skip
    text = unit_norm(centres + rng.uniform(0, 4) * rng.normal(size=centres.shape))
    return {
        "text": TextSide(text.astype(np.float32), None, lambda: None),
        "classes": int(classes),
        "train": train.astype(np.float32),
        "train_labels": labels.astype(np.int32),
        "val": val.astype(np.float32),
        "val_labels": val_labels.astype(np.int32),
    }


def exact_parts(data, features):
    """Return cosines with texts and A(beta), in float64 and whole."""
    x, keys, text = (unit_norm(values) for values in (features, data.train, data.text.prototypes))
    one_hot, cosines = np.eye(data.classes)[data.train_labels], x @ keys.T
    return x @ text.T, lambda beta: np.exp(-beta * (1 - cosines)) @ one_hot


def exact_search(data):
    """Return the pair that float64 chooses, what `counts` it by, and whether float32 can choose no other.

    `counts` gives how many are right, how many surely, and how many perhaps: but for 1e-5 of the logits, where
    rounding may decide.
    """
    known = data.val_labels >= 0
    text, affinity_of = exact_parts(data, data.val[known])
    own = np.eye(data.classes, dtype=bool)[data.val_labels[known]]

    def counts(affinity, alpha):
        logits = text + alpha / 100 * affinity
        margin, least = logits[own] - logits.max(axis=1, where=~own, initial=-np.inf), 1e-5 * (1 + np.abs(logits[own]))
        return (margin > 0).sum(), (margin > least).sum(), (margin > -least).sum()

    betas, alphas, best, clear = ratios(0.1, 50, 24), ratios(0.1, 200, 24), (0, 0, -1), True
    for _ in ("coarse", "fine"):
        for beta in betas:
            affinity = affinity_of(beta)
            for alpha in alphas:
                right, surely, perhaps = counts(affinity, alpha)
                clear &= surely == perhaps
                best = (beta, alpha, right) if right > best[2] else best
        betas, alphas = around(np.array(betas), best[0]), around(np.array(alphas), best[1])
    return best, lambda beta, alpha: counts(affinity_of(beta), alpha), clear


def test_the_search_chooses_what_float64_chooses_apart_from_ties(few_shot):
    clear_ones = 0
    for seed in range(20):
        data = replace(few_shot(), **random_problem(seed))
        (beta, alpha, right), counts, clear = exact_search(data)
        info = method().fit(data).info
        if clear:
            clear_ones += 1
            assert (info["beta"], info["alpha"]) == pytest.approx((beta, alpha)), seed
            assert info["val_accuracy"] == right / (data.val_labels >= 0).sum()
        assert counts(info["beta"], info["alpha"])[2] >= counts(beta, alpha)[1], seed
    assert clear_ones >= 5, "the problems must be such that the choice is one"


@pytest.mark.parametrize(("beta", "alpha"), [(1.0, 1.17), (5.5, 1.0), (7.0, 3.0), (12.0, 10.0), (50.0, 200.0)])
def test_logits_are_float32_and_as_near_to_float64_as_that_can_be(few_shot, beta, alpha):
    """Within 1e-6; for a large beta, which multiplies the rounding of the cosines, within 1e-6 of what it multiplies.

    16 shots of 200 classes in 512 dimensions, and samples in two and a half blocks.
    """
    rng = np.random.default_rng(3)
    centres, labels = rng.normal(size=(200, 512)), np.repeat(np.arange(200), 16)
    train, x = ((centres[rows] + 0.3 * rng.normal(size=(len(rows), 512))).astype(np.float32)
                for rows in (labels, rng.integers(0, 200, 640)))  # fmt: skip
    text = TextSide(unit_norm(centres).astype(np.float32), None, lambda: None)
    data = replace(few_shot(val_shots=0), classes=200, text=text, train=train, train_labels=labels)
    got = logits_of(method(beta=beta, alpha=alpha), data, x)
    cosines, affinity_of = exact_parts(data, x)
    cache = alpha / 100 * affinity_of(beta)
    assert got.dtype == np.float32
    assert cache.max() > 1e-3, "the cache must count"
    assert (np.abs(got - cosines - cache) <= 1e-6 * np.maximum(1, beta * cache)).all()


@pytest.mark.parametrize("name", ["tip_adapter", "tip_adapter_f"])
def test_beta_and_alpha_are_chosen_on_validation_the_smallest_of_equals_then_refined(few_shot, monkeypatch, name):
    monkeypatch.setattr(tip_adapter, "STEPS", 4)
    data = few_shot(classes=4, val_shots=10, spread=1.2)
    beta, alpha, reached = chosen_by_hand(data, ratios(0.1, 6, 4), ratios(0.1, 400, 4))
    still = {"lr": 0.0, "epochs": 1} if name == "tip_adapter_f" else {}
    info = method(name, beta_to=6.0, alpha_to=400.0, **still).fit(data).info
    assert (info["beta"], info["alpha"], info["val_accuracy"]) == pytest.approx((beta, alpha, reached))
    assert alpha > 0.1, "the cache must count"
    assert info["val_labels_used"] == 40


def test_a_given_value_is_kept_while_the_other_is_chosen(few_shot):
    data = few_shot(classes=4, val_shots=10, spread=1.2)
    learned = method(alpha=2.5).fit(data)
    assert learned.info["alpha"] == 2.5
    assert 0.1 <= learned.info["beta"] <= 50
    assert not any("alpha" in remark for remark in learned.remarks), "what was not searched has no end"
    both = method(alpha=2.5, beta=0.0).fit(data)
    assert (both.info["beta"], both.remarks) == (0, [])


OFFICIAL = [(7, 3), (12, 5), (13, 13), (12, 10), (30, 30), (10, 10), (50, 50), (20, 10)]  # docs/methods.md


@pytest.mark.parametrize("name", ["tip_adapter", "tip_adapter_f"])
def test_the_default_range_holds_every_official_one(name):
    assert tip_adapter.LOWEST == 0.1
    for beta, alpha in OFFICIAL:
        assert method(name).beta_to >= beta
        assert method(name).alpha_to >= alpha


def weak_texts(few_shot, mixed):
    """Well separated images whose texts say `mixed` parts of another class: how flowers look to CLIP."""
    data = few_shot(classes=4, shots=8, val_shots=10, spread=0.9)
    text = data.text.prototypes + mixed * np.roll(data.text.prototypes, 1, axis=0)
    return replace(data, text=replace(data.text, prototypes=unit_norm(text).astype(np.float32)))


@pytest.mark.parametrize("name", ["tip_adapter", "tip_adapter_f"])
def test_a_choice_at_an_end_of_its_range_is_said_and_a_wide_range_finds_better(few_shot, name):
    """Where texts mislead, the narrow range of ImageNet ends at its edge."""
    data = weak_texts(few_shot, 1.05)
    still = {"lr": 0.0, "epochs": 1} if name == "tip_adapter_f" else {}
    narrow, wide = method(name, beta_to=7.0, alpha_to=3.0, **still).fit(data), method(name, **still).fit(data)
    assert "alpha is at the upper end of its search, 3" in narrow.remarks
    assert not any("upper end" in remark for remark in wide.remarks)
    assert wide.info["val_accuracy"] > narrow.info["val_accuracy"] + 0.1


def test_nothing_is_said_of_an_end_where_nothing_was_searched(few_shot):
    assert method(beta_start=0.1, alpha_start=200.0).fit(few_shot(val_shots=0)).remarks == []


def test_training_starts_at_the_alpha_that_validation_wants_or_at_a_given_one(few_shot):
    data = weak_texts(few_shot, 1.05)
    info = method("tip_adapter_f", epochs=1).fit(data).info
    assert (info["beta_start"], info["alpha_start"]) == (1, method(beta=1.0).fit(data).info["alpha"])
    given = method("tip_adapter_f", epochs=1, beta_start=2.0, alpha_start=10.0).fit(data).info
    assert (given["beta_start"], given["alpha_start"]) == (2, 10)
    fixed = method("tip_adapter_f", epochs=1, beta=3.0, alpha=4.0, beta_start=2.0, alpha_start=10.0).fit(data).info
    assert (fixed["beta_start"], fixed["alpha_start"], fixed["beta"], fixed["alpha"]) == (3, 4, 3, 4)


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


def test_keys_of_classes_of_any_size_in_any_order_against_the_same(few_shot):
    """One class has no shot at all."""
    data = replace(few_shot(val_shots=0), **random_problem(4))
    data = replace(data, val=data.val[:0], val_labels=data.val_labels[:0])
    assert len(set(np.bincount(data.train_labels))) > 2
    learned = method("tip_adapter_f", epochs=5, lr=0.01).fit(data)
    order = np.argsort(data.train_labels, kind="stable")
    np.testing.assert_array_equal(learned.arrays["labels"], data.train_labels[order])
    expected = naive_training(data, 5, 0.01, 1.0, 1.17)[-1][order]
    np.testing.assert_allclose(learned.arrays["keys"], expected, atol=1e-4)
    assert np.abs(expected - unit_norm(data.train)[order]).max() > 1e-2


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
