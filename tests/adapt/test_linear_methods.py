"""ZS-LP, CLAP and LP++ against their formulas written out, and against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from oodgrid import registry
from oodgrid.adapt.contract import Diverged, Skip, TextSide, normalise
from oodgrid.adapt.methods import lp_plus_plus as lp_module
from tests.adapt.plain import descend, of_loss, unit


def method(name, **params):
    return registry.find("method", name).make(**params)


@pytest.fixture
def shots(few_shot):
    rng = np.random.default_rng(5)
    data = few_shot(shots=4, classes=3, spread=2.0)
    embeddings = (3 * data.text.prototypes + 0.5 * rng.normal(size=(2, 3, 16))).astype(np.float32)
    text = TextSide(normalise(normalise(embeddings).mean(axis=0)), ["a", "b", "c"], lambda: None, embeddings)
    views = (data.train[:, None] + rng.normal(size=(12, 3, 16))).astype(np.float32)
    return few_shot(shots=4, classes=3, spread=2.0, text=text, train_views=views)


def zero_shot_chance(shots):
    """Mean over the class's shots, view by view, of what zero-shot CLIP gives the right class."""
    text = unit(shots.text.embeddings.mean(axis=0))
    pull = []
    for k in range(shots.classes):
        own = [
            torch.softmax(100 * text @ x, 0)[k]
            for x in unit(shots.train_views[shots.train_labels == k]).reshape(-1, 16)
        ]
        pull.append(sum(own) / len(own))
    return torch.stack(pull)


@pytest.mark.parametrize("name", ["zs_lp", "clap"])
def test_fifty_epochs_against_the_written_out_loss(shots, name):
    learned = method(name, epochs=50, batch=5, lr=0.02, views="rrc08").fit(shots)
    start = torch.from_numpy(shots.text.embeddings.mean(axis=0))
    weights = start.clone().requires_grad_(True)
    pull = zero_shot_chance(shots) if name == "clap" else torch.zeros(3)

    def loss(rows, chosen):
        x = unit(shots.train_views[rows.numpy(), chosen[rows].numpy()])
        logits = 100 * x @ (weights.double() / weights.double().norm(dim=1, keepdim=True)).T
        own = [torch.logsumexp(row, 0) - row[k] for row, k in zip(logits, shots.train_labels[rows], strict=True)]
        held = [factor * ((w - t) ** 2).sum() for factor, w, t in zip(pull, weights, start, strict=True)]
        return sum(own) / len(own) + sum(held) / len(held)

    generator = torch.Generator().manual_seed(shots.seed)
    losses = descend(shots, [weights], of_loss(loss, [weights]), 50, 0.02, 5, generator, decay=0)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(learned.arrays["prototypes"], unit(weights.detach().numpy()).numpy(), atol=1e-4)
    np.testing.assert_allclose(learned.info["multipliers"], pull.numpy(), atol=1e-6)


def test_clap_that_is_not_held_is_zs_lp(shots, monkeypatch):
    monkeypatch.setattr(type(method("clap")), "pull", lambda self, data: np.zeros(3, np.float32))
    held, free = (method(name, epochs=9).fit(shots).arrays["prototypes"] for name in ("clap", "zs_lp"))
    np.testing.assert_array_equal(held, free)


def test_clap_stays_nearer_to_the_texts(shots):
    text = unit(shots.text.embeddings.mean(axis=0)).numpy()
    clap, free = (method(name, epochs=60).fit(shots).arrays["prototypes"] for name in ("clap", "zs_lp"))
    assert (clap * text).sum(axis=1).mean() > (free * text).sum(axis=1).mean()


def test_zs_lp_that_does_not_move_is_zero_shot(shots):
    """One epoch at the warm-up rate of 1e-5 is all that lr 0 leaves."""
    got = method("zs_lp", epochs=1, lr=0).fit(shots).arrays["prototypes"]
    np.testing.assert_allclose(got, unit(shots.text.embeddings.mean(axis=0)).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["zs_lp", "clap"])
def test_text_embeddings_that_have_lost_their_norms_are_noted(shots, few_shot, name):
    """At unit norm the same rate turns a prototype a hundred times as far as at norm 10."""
    text = replace(shots.text, embeddings=normalise(shots.text.embeddings))
    lost = few_shot(shots=4, classes=3, spread=2.0, text=text)
    assert method(name, epochs=1).fit(lost).info["notes"].startswith("unit-norm text embeddings")
    assert method(name, epochs=1).fit(shots).info["notes"] is None


def lp_plus_plus(shots, epochs):
    """The official loop: autograd and torch's SGD, the gradient of alpha never set to zero."""
    x, text = unit(shots.train), torch.from_numpy(shots.text.prototypes).double()
    labels, count = torch.from_numpy(shots.train_labels).long(), len(shots.train)
    classes = shots.classes
    w = torch.stack([x[labels == k].sum(dim=0) for k in range(classes)]).requires_grad_(True)
    bound = shots.train.shape[1] ** -0.5
    b = torch.from_numpy(np.random.default_rng(shots.seed).uniform(-1, 1, classes) * bound).requires_grad_(True)
    mean_cosines = [(x[labels == k] @ text[k]).mean() for k in range(classes)]
    alpha = (250 * sum(mean_cosines) / classes * torch.ones(classes, dtype=torch.float64)).requires_grad_(True)
    rate = 4 * count / torch.linalg.eigvalsh(x.T @ x).max().item()
    alpha_rate = count / (4 * ((x @ text.T) ** 2).sum(dim=0).max())
    optimiser = torch.optim.SGD([w, b], lr=rate, momentum=0.9)
    losses, states, val = [], [], unit(shots.val)
    for epoch in range(epochs):
        loss = torch.nn.functional.cross_entropy(x @ w.T + b + alpha * (x @ text.T), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (epoch + 1) % 10 == 0:
            alpha.data -= alpha_rate * alpha.grad
        losses.append(loss.item())
        reached = ((val @ w.T + b + alpha * (val @ text.T)).argmax(dim=1).numpy() == shots.val_labels).mean()
        states.append((reached, [value.detach().clone() for value in (w, b, alpha)]))
    best = max(range(epochs), key=lambda epoch: (states[epoch][0], epoch))
    return losses, best + 1, states[best][1], text


@pytest.mark.parametrize(("classes", "noise", "rows"), [(3, 2.0, 1024), (3, 2.0, 5), (10, 4.0, 7), (10, 1.0, 16)])
def test_lp_plus_plus_against_autograd_and_torch_s_sgd_in_float64(few_shot, monkeypatch, classes, noise, rows):
    """Products are float32 here: losses agree to 1e-5, logits to 1e-5 of the largest, in blocks of any size."""
    monkeypatch.setattr(lp_module, "ROWS", rows)
    shots = few_shot(classes=classes, spread=noise, val_shots=8, names=[str(k) for k in range(classes)])
    made = method("lp_plus_plus", epochs=60)
    learned = made.fit(shots)
    losses, best, (w, b, alpha), text = lp_plus_plus(shots, 60)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-5, atol=1e-5)
    assert learned.info["epoch"] == best
    assert learned.info["val_labels_used"] == len(shots.val)
    classifier = made.classifier(learned.arrays, shots.text)
    x = unit(shots.val)
    expected = ((x @ w.T + b + alpha * (x @ text.T)) / 100).numpy()
    got = x.numpy() @ classifier.prototypes.T + classifier.bias
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(learned.arrays["alpha"], alpha, rtol=1e-5)


def test_lp_plus_plus_without_validation_keeps_the_last_epoch(few_shot):
    info = method("lp_plus_plus", epochs=7).fit(few_shot(val_shots=0)).info
    assert (info["epoch"], info["val_labels_used"], info["val_accuracies"]) == (7, 0, [])


def test_lp_plus_plus_that_explodes_says_so(shots):
    text = replace(shots.text, prototypes=shots.text.prototypes * np.float32(1e30))
    with np.errstate(all="ignore"), pytest.raises(Diverged, match=r"the loss became (nan|inf) in epoch 1"):
        method("lp_plus_plus").fit(replace(shots, text=text))


@pytest.mark.parametrize("name", ["clap", "lp_plus_plus"])
def test_a_class_without_a_shot_is_a_skip(shots, few_shot, name):
    labels = np.where(shots.train_labels == 2, 1, shots.train_labels).astype(np.int32)
    data = few_shot(shots=4, classes=3, text=shots.text, train_labels=labels)
    with pytest.raises(Skip, match="no training sample"):
        method(name).fit(data)
