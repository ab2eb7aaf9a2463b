"""NegPrompt and LSN against their losses written out, one prompt at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodgrid import registry
from tests.adapt.plain import descend, of_loss, unit, whole_prompts

NAMES = ["red fox", "sea_otter", "owl"]


def method(name, **params):
    return registry.find("method", name).make(**params)


@pytest.fixture
def shots(few_shot, tower):
    return few_shot(shots=3, classes=3, tower=tower, names=NAMES)


def neg_prompt_loss(x, labels, positives, negatives, scale):
    """The official loss: own prompts true, others false, each by a sigmoid; distances class by class."""
    classes, count = negatives.shape[:2]
    terms = []
    for feature, label in zip(x, labels, strict=True):
        for k in range(classes):
            for prompt in (positives[k], *negatives[k]):
                logit = scale * torch.dot(feature, prompt)
                terms.append(torch.nn.functional.softplus(-logit if k == label else logit))
    separation = sum(terms) / len(terms)
    distance = sum(1 - torch.dot(positives[k], negatives[k, j]) for k in range(classes) for j in range(count))
    spread = sum(negatives[k].mean(dim=0).norm() for k in range(classes)) / classes
    return separation - 0.1 * distance / (classes * count) + 0.05 * spread


def test_neg_prompt_s_loss_against_loops():
    rng = np.random.default_rng(0)
    x, positives, negatives = (unit(rng.normal(size=shape)) for shape in ((5, 8), (3, 8), (3, 2, 8)))
    labels = torch.tensor([0, 2, 1, 1, 0])
    got = method("neg_prompt").loss(x, labels, positives, negatives, 20.0)
    assert got.item() == pytest.approx(neg_prompt_loss(x, labels, positives, negatives, 20.0).item(), rel=1e-6)


def test_neg_prompt_s_two_stages_against_whole_prompts(shots, tower):
    made = method("neg_prompt", epochs=8, batch=4)
    learned = made.fit(shots)
    generator = torch.Generator().manual_seed(shots.seed)
    positive = tower.embed("a photo of a").clone().requires_grad_(True)

    def matching(rows, chosen):
        logits = tower.logit_scale * unit(shots.train)[rows] @ whole_prompts(tower, positive, NAMES).double().T
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(shots.train_labels).long()[rows])

    recipe = {"epochs": 8, "lr": 0.1, "batch": 4, "generator": generator, "momentum": 0, "decay": 0}
    losses = descend(shots, [positive], of_loss(matching, [positive]), **recipe)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-4)
    noise = 1e-5 * (2 * torch.rand((2, 4, 64), generator=generator) - 1)
    contexts = (positive.detach() + noise).requires_grad_(True)
    prototypes = whole_prompts(tower, positive.detach(), NAMES).double()

    def separating(rows, chosen):
        negatives = torch.stack([whole_prompts(tower, context, NAMES).double() for context in contexts], dim=1)
        labels = torch.from_numpy(shots.train_labels).long()[rows]
        return neg_prompt_loss(unit(shots.train)[rows], labels, prototypes, negatives, tower.logit_scale)

    losses = descend(shots, [contexts], of_loss(separating, [contexts]), **recipe)
    np.testing.assert_allclose(learned.info["negative_losses"], losses, rtol=1e-4)
    classifier = made.classifier(learned.arrays, shots.text)
    np.testing.assert_allclose(classifier.prototypes, prototypes.numpy(), atol=1e-4)
    assert classifier.negatives.shape == (3, 2, 16)
    with torch.no_grad():
        for j, context in enumerate(torch.from_numpy(learned.arrays["negative_contexts"])):
            expected = whole_prompts(tower, context, NAMES).numpy()
            np.testing.assert_allclose(classifier.negatives[:, j], expected, atol=1e-6)


def double_softmax(logits, labels):
    """Cross entropy that takes probabilities for logits, as LSN's code."""
    found = []
    for row, label in zip(logits, labels, strict=True):
        chances = torch.softmax(row, 0)
        found.append(-torch.log_softmax(chances, 0)[label])
    return sum(found) / len(found)


def test_lsn_against_whole_prompts(shots, tower):
    """Torch's own SGD, Adam and cosine around losses written out; negatives in turn, the others standing still."""
    made = method("lsn", negatives=2, context_tokens=3, epochs=4, negative_epochs=5, batch=4)
    learned = made.fit(shots)
    generator = torch.Generator().manual_seed(shots.seed)
    drawn = [0.02 * torch.randn(shape, generator=generator) for shape in ((3, 64), (3, 3, 64), (3, 3, 64))]
    contexts = [value.requires_grad_(True) for value in drawn]
    labels = torch.from_numpy(shots.train_labels).long()

    def batches():
        order = torch.randperm(9, generator=generator)
        return [order[:4], order[4:8], order[8:]]

    def train(optimiser, loss_of):
        found = []
        for rows in batches():
            loss = loss_of(unit(shots.train)[rows], labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(loss.item())
        return sum(found) / len(found)

    def at(optimiser, lr, epoch, epochs):
        optimiser.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2

    def matching(x, y):
        return double_softmax(100 * x @ whole_prompts(tower, contexts[0], NAMES).double().T, y)

    positive = torch.optim.SGD([contexts[0]], lr=0.001, momentum=0.9, weight_decay=5e-4)
    losses = []
    for epoch in range(4):
        at(positive, 0.001, epoch, 4)
        losses.append(
            train(
                positive, lambda x, y: double_softmax(100 * x @ whole_prompts(tower, contexts[0], NAMES).double().T, y)
            )
        )
    np.testing.assert_allclose(learned.info["losses"][0], losses, rtol=1e-4)
    adams = [torch.optim.Adam([context], lr=0.002) for context in contexts[1:]]
    found = [[], []]
    for epoch in range(5):
        for place, (adam, context, other) in enumerate(zip(adams, contexts[1:], reversed(contexts[1:]), strict=True)):
            at(adam, 0.002, epoch, 5)
            still = whole_prompts(tower, other.detach(), NAMES).double()

            def loss(x, y, context=context, still=still):
                embeddings = whole_prompts(tower, context, NAMES).double()
                alike = sum(torch.dot(a, b) for a, b in zip(embeddings, still, strict=True)) / 3
                return double_softmax(20 * (1 - x @ embeddings.T), y) + alike

            found[place].append(train(adam, loss))
    np.testing.assert_allclose(learned.info["negative_losses"], found, rtol=1e-4)
    classifier = made.classifier(learned.arrays, shots.text)
    with torch.no_grad():
        for j in range(2):
            expected = whole_prompts(tower, torch.from_numpy(learned.arrays["negative_contexts"][j]), NAMES).numpy()
            np.testing.assert_allclose(classifier.negatives[:, j], expected, atol=1e-6)


def test_lsn_with_one_negative_has_none_to_keep_away_from(shots):
    info = method("lsn", negatives=1, context_tokens=2, epochs=1, negative_epochs=2).fit(shots).info
    assert len(info["negative_losses"]) == 1
    assert np.isfinite(info["negative_losses"]).all()
