"""GalLoP against its loss written out prompt by prompt and patch by patch, against CoOp, and through both rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from oodgrid import manifests, paths, registry, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.contract import normalise
from oodgrid.adapt.fit import fit
from tests.adapt.plain import descend, of_loss, unit, whole_prompts

NAMES = ["red fox", "sea_otter", "snow leopard", "owl"]
PATCHES = 5
LR = 0.1


def method(name="gallop", **params):
    return registry.find("method", name).make(**params)


@pytest.fixture
def shots(few_shot, tower):
    rng = np.random.default_rng(3)
    data = few_shot(shots=4, classes=4, tower=tower, names=NAMES)
    views = data.train[:, None] + rng.normal(size=(16, 3, 16))
    local = data.train[:, None, None] + 3 * rng.normal(size=(16, 3, PATCHES, 16))
    changes = {"train_views": views.astype(np.float32), "train_local": local.astype(np.float16)}
    return few_shot(shots=4, classes=4, tower=tower, names=NAMES, **changes)


def logits_of(x, patches, prompts, projection, globals_, top_k):
    """Global logits of every context and local logits of every context, one image and one class at a time."""
    moved = [projection @ patch for patch in patches]
    whole = [[torch.dot(x, g) for g in prompt] for prompt in prompts[:globals_]]
    local = []
    for k, prompt in zip(top_k, prompts[globals_:], strict=True):
        cosines = [sorted((torch.dot(p, g) / p.norm() for p in moved), reverse=True)[:k] for g in prompt]
        local.append([sum(found) / len(found) for found in cosines])
    return [[torch.stack(row) for row in part] for part in (whole, local)]


def written_out(tower, data, contexts, projection, made, generator):
    """Return the loss of a batch; the drawn contexts come from the stream behind the batch's order, as in the fit."""

    def loss(rows, chosen):
        prompts = [whole_prompts(tower, context, NAMES).double() for context in contexts]
        kept = max(made.global_prompts - int(made.dropout * made.global_prompts), 1)
        drawn = torch.randint(made.global_prompts, (len(rows), kept), generator=generator)
        total = 0
        for place, row in enumerate(rows.tolist()):
            x = unit(data.train_views[row, chosen[row]])
            patches = unit(data.train_local[row, chosen[row]].astype(np.float32))
            whole, local = logits_of(x, patches, prompts, projection.double(), made.global_prompts, made.top_k)
            own = sum(whole[number] for number in drawn[place].tolist()) / kept
            for logits, share in [(own, 1), *[(logits, 1 / len(local)) for logits in local]]:
                scaled = tower.logit_scale * logits
                total = total + share * (torch.logsumexp(scaled, 0) - scaled[data.train_labels[row]])
        return total / len(rows)

    return loss


@pytest.mark.parametrize("dropout", [0.75, 0.5])
def test_fifty_steps_against_the_written_out_loss(shots, tower, dropout):
    made = method(global_prompts=4, top_k=(1, 3), dropout=dropout, epochs=25, batch=8, lr=LR, views="rrc08")
    learned = made.fit(shots)
    generator = torch.Generator().manual_seed(shots.seed)
    contexts = tower.embed("a photo of a").expand(6, -1, -1).clone().requires_grad_(True)
    projection = torch.eye(16).requires_grad_(True)
    parameters = [contexts, projection]
    gradients = of_loss(written_out(tower, shots, contexts, projection, made, generator), parameters)
    losses = descend(shots, parameters, gradients, 25, LR, 8, generator, decay=0.01, warm_up=False)
    np.testing.assert_allclose(learned.info["losses"], losses, rtol=1e-4)
    np.testing.assert_allclose(learned.arrays["contexts"], contexts.detach().numpy(), rtol=0, atol=2e-3)
    np.testing.assert_allclose(learned.arrays["projection"], projection.detach().numpy(), rtol=0, atol=2e-3)
    assert np.abs(learned.arrays["projection"] - np.eye(16)).max() > 0.02
    assert np.abs(np.diff(learned.arrays["contexts"], axis=0)).max(axis=(1, 2)).min() > 1e-4  # they went apart


def test_the_logits_are_the_mean_of_global_and_local_ones(shots, tower):
    made = method(global_prompts=2, top_k=(2, 9), epochs=3, lr=LR)
    learned = made.fit(shots)
    rng = np.random.default_rng(0)
    x, patches = (rng.normal(size=shape).astype(np.float32) for shape in ((40, 16), (40, PATCHES, 16)))
    got = made.classifier(learned.arrays, shots.text).local_logits(x, patches.astype(np.float16))
    contexts, projection = (torch.from_numpy(learned.arrays[name]) for name in ("contexts", "projection"))
    with torch.no_grad():
        prompts = [whole_prompts(tower, context, NAMES).double() for context in contexts]
    for row in (0, 31, 32, 39):  # a batch ends between two of them
        local = unit(patches[row].astype(np.float16).astype(np.float32))
        whole, parts = logits_of(unit(x[row]), local, prompts, projection.double(), 2, (2, 5))
        expected = (sum(whole) / 2 + sum(parts) / 2) / 2
        np.testing.assert_allclose(got[row], expected.numpy(), rtol=0, atol=2e-6)


def test_one_global_prompt_alone_is_coop_without_its_warm_up(few_shot, tower, monkeypatch):
    """All shots in one batch: the draw of the one context moves the stream, and with it only the order of rows."""
    data = few_shot(shots=4, classes=4, tower=tower, names=NAMES)
    common = {"init": "a photo of a", "epochs": 6, "lr": LR}
    alone = method(global_prompts=1, top_k=(), weight_decay=5e-4, **common).fit(data)
    recipe = type(method("coop")).recipe
    monkeypatch.setattr(type(method("coop")), "recipe", lambda *given: replace(recipe(*given), warm_up=False))
    of_coop = method("coop", **common).fit(data)
    np.testing.assert_allclose(alone.info["losses"], of_coop.info["losses"], rtol=1e-5)
    np.testing.assert_allclose(alone.arrays["contexts"][0], of_coop.arrays["context"], rtol=0, atol=1e-5)
    assert alone.info["losses"][-1] < 0.9 * alone.info["losses"][0]


def test_the_published_recipe():
    made = method()
    assert (made.global_prompts, made.top_k, made.dropout) == (4, (5, 10, 15, 20), 0.75)
    assert (made.epochs, made.lr, made.batch, made.weight_decay) == (50, 0.002, 128, 0.01)


# ------------------------------------------------------------------------------------------------- both rules

CHOICE = {"name": "gallop", "epochs": 2, "top_k": [1, 2], "global_prompts": 2}


def with_local(mini, *places):
    """Give files local features of three patches."""
    for number, (name, split) in enumerate(places):
        features = mini.read(name, split)
        rng = np.random.default_rng(number)
        local = rng.normal(size=(len(features.labels), 3, 16)).astype(np.float16)
        store.write_features(paths.features(mini.results, "mini", name, split), replace(features, local_features=local))


def both(mini, **experiment):
    made = mini.experiment(CHOICE, **experiment)
    label = made.methods[0].listed("method")
    fitted = manifests.read(fit(mini.results, made, "mini", "pets", label), manifests.Fitted)
    return made, fitted, manifests.read(apply(mini.results, made, "mini", "pets", label), manifests.Applied)


EVERYWHERE = [("pets", "train"), ("pets", "val"), ("pets", "test"), ("cars", "test")]


def test_logits_of_every_set_come_from_its_own_patches(mini, tower, monkeypatch):
    with_local(mini, *EVERYWHERE)
    monkeypatch.setattr("oodgrid.store.local_features.LOCAL_ROWS", 7)  # several blocks a file
    with_local(mini, *EVERYWHERE)
    made, fitted, manifest = both(mini)
    [left] = manifest.fits
    assert (left.status, set(left.sets)) == ("ok", {"pets", "cars"})
    learned = store.read_arrays(mini.results / fitted.fits[0].file)[0]
    choice = made.methods[0]
    classifier = registry.find("method", "gallop").make(**choice.params).classifier(learned, text_of(mini, tower))
    for name, file in left.sets.items():
        path = paths.features(mini.results, "mini", name, "test")
        rows = np.arange(len(mini.read(name).labels))
        expected = classifier.local_logits(mini.read(name).image_features, store.read_local_rows(path, rows))
        np.testing.assert_allclose(store.read_arrays(mini.results / file)[0]["logits"], expected, rtol=0, atol=2e-6)
    val = store.read_arrays(mini.results / left.val)[0]
    assert val["logits"].shape == (len(val["labels"]), 4) == (8, 4)


def text_of(mini, tower):
    from oodgrid.adapt.contract import TextSide

    texts = store.read_texts(paths.texts(mini.results, "mini", "pets"))
    prototypes = normalise(normalise(texts.text_features).mean(axis=0))
    return TextSide(prototypes, texts.classnames, lambda: tower)


def test_a_test_set_without_local_features_is_a_skip_that_says_what_to_write(mini):
    with_local(mini, *EVERYWHERE[:3])
    [left] = both(mini)[2].fits
    assert left.status == "skipped"
    assert left.reason == "there are no local features of cars: write local_features: true for the backbone"


def test_other_patches_under_the_same_features_are_applied_to_anew(mini):
    with_local(mini, *EVERYWHERE)
    first = both(mini)[2].fits[0].sets
    features = mini.read("cars")
    local = np.random.default_rng(9).normal(size=(len(features.labels), 3, 16)).astype(np.float16)
    store.write_features(paths.features(mini.results, "mini", "cars", "test"), replace(features, local_features=local))
    second = both(mini)[2].fits[0].sets
    assert first["pets"] == second["pets"]
    assert first["cars"] != second["cars"]
