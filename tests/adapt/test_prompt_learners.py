"""CoOp and its successors against losses written out sample by sample on whole prompts, and against each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from oodgrid import registry
from oodgrid.adapt.contract import normalise
from oodgrid.adapt.prompt_learning import Batch
from tests.adapt.plain import descend, entropy_of, of_loss, unit, whole_prompts

NAMES = ["red fox", "sea_otter", "snow leopard", "owl"]
PATCHES = 5


def method(name, **params):
    return registry.find("method", name).make(**params)


@pytest.fixture
def shots(few_shot, tower):
    """Return few-shot data of four classes with three views and local features of each."""
    rng = np.random.default_rng(3)
    data = few_shot(shots=4, classes=4, tower=tower, names=NAMES)
    noise = rng.normal(size=(16, 3, 16))
    local = rng.normal(size=(16, 3, PATCHES, 16)) + 0.3 * data.train[:, None, None]
    changes = {
        "train_views": (data.train[:, None] + noise).astype(np.float32),
        "train_local": local.astype(np.float16),
    }
    return few_shot(shots=4, classes=4, tower=tower, names=NAMES, **changes)


def logits_of(tower, data, context, rows, chosen, names=NAMES):
    """Return scaled logits, text embeddings, and normalised features, of rows in the views that were chosen."""
    embeddings = whole_prompts(tower, context, names).double()
    x = unit(data.train_views[rows.numpy(), chosen[rows].numpy()])
    return tower.logit_scale * x @ embeddings.T, embeddings, x


def cross_entropy(logits, labels):
    """Written out: minus the log of the softmax at the label, averaged."""
    own = [row[label] - torch.logsumexp(row, 0) for row, label in zip(logits, labels, strict=True)]
    return -torch.stack(own).mean()


def background(tower, data, embeddings, rows, chosen, top_k):
    """Yield the place in the batch and the class chances of every patch that does not show its image's class."""
    for place, row in enumerate(rows.tolist()):
        for patch in unit(data.train_local[row, chosen[row]].astype(np.float32)):
            chances = torch.softmax(tower.logit_scale * embeddings @ patch, 0)
            if data.train_labels[row] not in chances.argsort(descending=True)[:top_k].tolist():
                yield place, chances


def coop_loss(tower, data, context):
    def loss(rows, chosen):
        return cross_entropy(logits_of(tower, data, context, rows, chosen)[0], data.train_labels[rows])

    return loss


def kgcoop_loss(tower, data, context, weight):
    def loss(rows, chosen):
        logits, embeddings, _ = logits_of(tower, data, context, rows, chosen)
        cosines = [torch.dot(g, t) for g, t in zip(embeddings, unit(data.text.prototypes), strict=True)]
        return cross_entropy(logits, data.train_labels[rows]) + weight * (1 - sum(cosines) / len(cosines))

    return loss


def fa_loss(tower, data, context, copies):
    """Every column written out: the learned prompts, then the zero-shot ones again and again."""

    def loss(rows, chosen):
        logits, _, x = logits_of(tower, data, context, rows, chosen)
        frozen = tower.logit_scale * x @ unit(data.text.prototypes).T
        terms = []
        for own, other, label in zip(logits, frozen, data.train_labels[rows], strict=True):
            total = own.exp().sum() + copies * other.exp().sum()
            terms.append(total.log() - own[label])
        return sum(terms) / len(terms)

    return loss


def locoop_loss(tower, data, context, strength, top_k):
    def loss(rows, chosen):
        logits, embeddings, _ = logits_of(tower, data, context, rows, chosen)
        found = [entropy_of(chances) for _, chances in background(tower, data, embeddings, rows, chosen, top_k)]
        regular = sum(found) / len(found) if found else 0
        return cross_entropy(logits, data.train_labels[rows]) - strength * regular

    return loss


def sct_loss(tower, data, context, strength, top_k):
    def loss(rows, chosen):
        logits, embeddings, _ = logits_of(tower, data, context, rows, chosen)
        own = [torch.softmax(row, 0)[label] for row, label in zip(logits, data.train_labels[rows], strict=True)]
        classified = sum(-torch.log(p) * (1.0000001 - p) for p in own) / len(own)
        patches = background(tower, data, embeddings, rows, chosen, top_k)
        found = [entropy_of(chances) * (1e-7 + own[place]) for place, chances in patches]
        return classified - strength * (sum(found) / len(found) if found else 0)

    return loss


def prompt_src_loss(tower, data, context):
    def loss(rows, chosen):
        logits, embeddings, x = logits_of(tower, data, context, rows, chosen)
        zero_shot = unit(data.text.prototypes)
        apart = 0
        for row, feature in zip(logits, x, strict=True):
            teacher, student = torch.softmax(tower.logit_scale * zero_shot @ feature, 0), torch.softmax(row, 0)
            apart = apart + sum(t * (torch.log(t) - torch.log(s)) for t, s in zip(teacher, student, strict=True))
        moved = (embeddings - zero_shot).abs().mean()
        return cross_entropy(logits, data.train_labels[rows]) + 25 * moved + apart / logits.numel()

    return loss


def prograd_gradients(tower, data, context, strength):
    def gradients(rows, chosen):
        logits, _, x = logits_of(tower, data, context, rows, chosen)
        teacher = torch.softmax(tower.logit_scale * x @ unit(data.text.prototypes).T, 1)
        wanted = cross_entropy(logits, data.train_labels[rows])
        agreement = (teacher * (teacher.log() - torch.log_softmax(logits, 1))).sum(1).mean()
        (a,) = torch.autograd.grad(wanted, context, retain_graph=True)
        (b,) = torch.autograd.grad(agreement, context)
        inner = (a * b).sum()
        if inner < 0:
            a = a - strength * inner / (b * b).sum() * b
        return wanted.item(), [a]

    return gradients


CASES = {
    "coop": ({}, lambda *given: of_loss(coop_loss(*given), [given[2]])),
    "kgcoop": ({"weight": 8.0}, lambda *given: of_loss(kgcoop_loss(*given, 8), [given[2]])),
    "fa": ({"copies": 2, "schedule": "epoch"}, lambda *given: of_loss(fa_loss(*given, 2), [given[2]])),
    "prograd": ({"strength": 0.8}, lambda *given: prograd_gradients(*given, 0.8)),
    "locoop": ({"strength": 0.25, "top_k": 2}, lambda *given: of_loss(locoop_loss(*given, 0.25, 2), [given[2]])),
    "sct": ({"strength": 0.3, "top_k": 1}, lambda *given: of_loss(sct_loss(*given, 0.3, 1), [given[2]])),
}
LR = 0.3  # so that fifty steps on a small random tower go somewhere


@pytest.mark.parametrize("name", CASES)
def test_fifty_steps_against_the_written_out_loss(shots, tower, name):
    params, gradients_of = CASES[name]
    common = {"init": None, "context_tokens": 3, "batch": 8, "epochs": 25, "lr": LR, "views": "rrc08"}
    learned = method(name, **common, **params).fit(shots)
    generator = torch.Generator().manual_seed(shots.seed)
    context = (0.02 * torch.randn(3, 64, generator=generator)).requires_grad_(True)
    start = context.detach().clone()
    losses = descend(shots, [context], gradients_of(tower, shots, context), 25, LR, 8, generator)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-4, atol=2e-6)
    moved = (context - start).abs().max().item()
    assert moved > 0.02
    np.testing.assert_allclose(learned.arrays["context"], context.detach().numpy(), rtol=0, atol=2e-3 * moved)


def test_prompt_src_against_the_written_out_loss_and_average(shots, tower):
    params = {"context_tokens": 3, "init": None, "batch": 8, "epochs": 6, "lr": LR, "views": "rrc08"}
    learned = method("prompt_src", mean=4.0, deviation=1.5, **params).fit(shots)
    generator = torch.Generator().manual_seed(shots.seed)
    context = (0.02 * torch.randn(3, 64, generator=generator)).requires_grad_(True)
    losses, contexts = [], []
    gradients = of_loss(prompt_src_loss(tower, shots, context), [context])

    def recording(rows, chosen):
        contexts.append(context.detach().clone())
        return gradients(rows, chosen)

    losses = descend(shots, [context], recording, 6, LR, 8, generator)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-4, atol=2e-6)
    ends = [*contexts[2::2], context.detach()]  # two batches an epoch: what the next epoch starts from
    weights = [math.exp(-((epoch - 4) ** 2) / (2 * 1.5**2)) for epoch in range(1, 7)]
    expected = sum(w * c for w, c in zip(weights, ends, strict=True)) / sum(weights)
    np.testing.assert_allclose(learned.arrays["context"], expected.numpy(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("kgcoop", {"weight": 0}),
        ("fa", {"copies": 0, "schedule": "epoch"}),
        ("prograd", {"strength": 0}),
        ("locoop", {"strength": 0}),
    ],
)
def test_without_its_own_part_a_method_is_coop_to_the_bit(shots, name, params):
    common = {"init": None, "context_tokens": 3, "batch": 8, "epochs": 4, "lr": LR, "views": "rrc08"}
    of_coop, of_other = (method(n, **common, **p).fit(shots) for n, p in (("coop", {}), (name, params)))
    np.testing.assert_array_equal(of_other.arrays["context"], of_coop.arrays["context"])
    assert of_other.info["losses"] == of_coop.info["losses"]


def test_fa_by_the_step_against_torch_s_own_optimiser_and_schedule(shots, tower):
    """Its code's recipe: torch's SGD and cosine, stepped after every batch, the last incomplete one too."""
    made = method("fa", batch=6, epochs=4, lr=LR)  # of 16 shots: 6, 6 and 4
    learned = made.fit(replace(shots, train_views=None))
    generator = torch.Generator().manual_seed(shots.seed)
    context = tower.embed("a photo of a").clone().requires_grad_(True)
    optimiser = torch.optim.SGD([context], lr=LR, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4 * 3)
    views, losses = replace(shots, train_views=shots.train[:, None]), []
    for _ in range(4):
        order, steps = torch.randperm(16, generator=generator), []
        for rows in (order[:6], order[6:12], order[12:]):
            loss = fa_loss(tower, views, context, 3)(rows, torch.zeros(16).long())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            steps.append(loss.item())
        losses.append(sum(steps) / 3)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-4)
    np.testing.assert_allclose(learned.arrays["context"], context.detach().numpy(), rtol=0, atol=1e-3)
    classifier = made.classifier(learned.arrays, shots.text)
    np.testing.assert_array_equal(classifier.negatives, np.stack([shots.text.prototypes] * 3, axis=1))
    same = method("coop").classifier(learned.arrays, shots.text)
    np.testing.assert_array_equal(classifier.prototypes, same.prototypes)


@pytest.mark.parametrize("copies", [0, 1, 3])
def test_fa_s_loss_and_its_gradient_in_float64(copies):
    """The gradient is s (p - 1_y) x over the learned columns, p of the softmax over all of them; copies only add up."""
    rng, labels = np.random.default_rng(copies), torch.tensor([0, 2, 1, 1, 0])
    x, learned, frozen = (unit(rng.normal(size=shape)) for shape in ((5, 8), (3, 8), (3, 8)))
    learned.requires_grad_(True)
    got = method("fa", copies=copies).loss(Batch(x, labels, learned, frozen, 20.0, lambda: x))
    ours, theirs = (np.exp(20 * (x @ each.detach().T).numpy()) for each in (learned, frozen))
    shares = ours / (ours.sum(1) + copies * theirs.sum(1))[:, None]
    assert got.item() == pytest.approx(-np.log(shares[np.arange(5), labels]).mean(), rel=1e-12)
    expected = 20 * (shares - np.eye(3)[labels]).T @ x.numpy() / 5
    np.testing.assert_allclose(torch.autograd.grad(got, learned)[0].numpy(), expected, rtol=1e-10)


def test_prompt_src_that_is_not_held_and_keeps_the_last_epoch_is_coop(shots):
    common = {"init": None, "context_tokens": 3, "batch": 8, "epochs": 4, "lr": LR}
    of_coop = method("coop", **common).fit(shots).arrays["context"]
    free = method("prompt_src", **common, text_weight=0, agreement=0, mean=4.0, deviation=0.01).fit(shots)
    np.testing.assert_allclose(free.arrays["context"], of_coop, rtol=0, atol=1e-7)


def test_sct_of_a_sure_model_learns_nothing(shots):
    """Where p_y is 1, the weight of the cross entropy is 1e-7, and without background patches nothing is left."""
    learned = method("sct", init=None, context_tokens=3, epochs=1, top_k=4).fit(shots)  # all classes are among the top
    assert learned.info["losses"][0] >= 0


def test_a_top_k_of_all_classes_leaves_no_background(shots):
    common = {"init": None, "context_tokens": 3, "batch": 8, "epochs": 3, "lr": LR}
    of_coop = method("coop", **common).fit(shots)
    of_locoop = method("locoop", **common, top_k=4).fit(shots)
    np.testing.assert_array_equal(of_locoop.arrays["context"], of_coop.arrays["context"])


def test_the_published_recipes():
    """Numbers of the codes of record; see the docstrings."""
    wanted = {
        "coop": (None, None, 0.002, 32),
        "kgcoop": ("a photo of a", 100, 0.002, 128),
        "prograd": (None, None, 0.002, 32),
        "locoop": (None, 50, 0.002, 32),
        "sct": (None, 25, 0.002, 32),
        "prompt_src": ("a photo of a", 50, 0.0025, 4),
        "fa": ("a photo of a", 50, 0.002, 160),
    }
    for name, recipe in wanted.items():
        made = method(name)
        assert (made.init, made.epochs, made.lr, made.batch) == recipe
    assert (method("cocoop").init, method("cocoop").epochs, method("cocoop").batch) == ("a photo of a", 10, 1)
    assert (method("fa").copies, method("fa").schedule) == (3, "step")
    assert (method("locoop").strength, method("sct").strength, method("kgcoop").weight) == (0.25, 0.25, 8)


def test_a_context_that_starts_from_words(shots, tower):
    started = method("coop", init="a photo of a", epochs=1, lr=0).fit(shots).arrays["context"]
    ids = tower.loaded.tokenizer(["a photo of a"])[0][1:5]
    np.testing.assert_allclose(started, tower.loaded.model.token_embedding.weight[ids], rtol=0, atol=1e-4)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("specific", [False, True])
def test_contexts_by_class_and_by_position_against_whole_prompts(shots, tower, position, specific):
    params = {"context_tokens": 3, "epochs": 6, "lr": LR, "class_specific": specific, "position": position}
    made = method("coop", **params)
    learned = made.fit(shots)
    generator = torch.Generator().manual_seed(shots.seed)
    context = (0.02 * torch.randn((4, 3, 64) if specific else (3, 64), generator=generator)).requires_grad_(True)

    def loss(rows, chosen):
        embeddings = whole_prompts(tower, context, NAMES, position).double()
        x = unit(shots.train_views[rows.numpy(), chosen[rows].numpy()])
        return cross_entropy(tower.logit_scale * x @ embeddings.T, shots.train_labels[rows])

    losses = descend(shots, [context], of_loss(loss, [context]), 6, LR, 32, generator)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-4, atol=2e-6)
    prototypes = made.classifier(learned.arrays, shots.text).prototypes
    with torch.no_grad():
        expected = whole_prompts(tower, torch.from_numpy(learned.arrays["context"]), NAMES, position)
    np.testing.assert_allclose(prototypes, expected.numpy(), rtol=0, atol=1e-6)


def cocoop_logits(tower, learned, x, scale=1.0):
    """Cosines under each image's own context, one image and one class at a time."""
    rows = []
    for feature in x:
        inner = torch.relu(learned["inner"].double() @ feature + learned["inner_bias"].double())
        moved = learned["outer"].double() @ inner + learned["outer_bias"].double()
        embeddings = whole_prompts(tower, (learned["context"].double() + moved).float(), NAMES).double()
        rows.append(torch.stack([scale * torch.dot(feature, g) for g in embeddings]))
    return torch.stack(rows)


def test_cocoop_against_one_image_and_class_at_a_time(shots, tower):
    made = method("cocoop", epochs=4, lr=0.05, batch=2, views="rrc08")
    learned = made.fit(shots)
    generator = torch.Generator().manual_seed(shots.seed)
    bound = {"inner": 16, "inner_bias": 16, "outer": 1, "outer_bias": 1}  # inputs of each: D = 16, one hidden unit
    shapes = {"inner": (1, 16), "inner_bias": (1,), "outer": (64, 1), "outer_bias": (64,)}
    start = {"context": tower.embed("a photo of a").clone()}
    for name, shape in shapes.items():
        start[name] = (2 * torch.rand(shape, generator=generator) - 1) * bound[name] ** -0.5
    parameters = [value.requires_grad_(True) for value in start.values()]

    def loss(rows, chosen):
        x = unit(shots.train_views[rows.numpy(), chosen[rows].numpy()])
        return cross_entropy(cocoop_logits(tower, start, x, tower.logit_scale), shots.train_labels[rows])

    losses = descend(shots, parameters, of_loss(loss, parameters), 4, 0.05, 2, generator)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-4, atol=2e-6)
    got = made.classifier(learned.arrays, shots.text).logits(shots.val)
    arrays = {name: torch.from_numpy(values) for name, values in learned.arrays.items()}
    with torch.no_grad():
        expected = cocoop_logits(tower, arrays, unit(shots.val))
    np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=2e-6)


def test_cocoop_whose_network_says_nothing_is_coop(shots):
    made = method("cocoop", epochs=2)
    arrays = made.fit(shots).arrays
    silent = {name: values * (name == "context") for name, values in arrays.items()}
    of_coop = method("coop").classifier({"context": arrays["context"]}, shots.text).prototypes
    got = made.classifier(silent, shots.text).logits(shots.val)
    np.testing.assert_allclose(got, normalise(shots.val) @ of_coop.T, rtol=0, atol=1e-6)
