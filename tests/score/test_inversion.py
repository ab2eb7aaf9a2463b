"""TINS' inversion through the text tower, and the score, against whole prompts, one image at a time, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from oodgrid import catalogue, registry, scores, text_tower
from oodgrid.config import Backbone, build
from oodgrid.errors import OodgridError
from oodgrid.identity import code_files
from oodgrid.score.contract import Bank, Encoder, Skip, TextList, normalise
from oodgrid.score.draws import TorchDraws
from oodgrid.score.mining import inter_modal
from oodgrid.text_tower.inversion import Inversion
from oodgrid.text_tower.plain import PlainTower

WORDS = ["gradient", "red_circle", "low resolution", "video game", "yellow"]
CLASSES = ["red square", "green ring", "blue cross"]
RECIPE = {"steps": 30, "lr": 0.02, "decay": 0.01}
EXACT = 1e-10


@pytest.fixture(scope="module")
def tiny():
    return text_tower.load(build(Backbone, name="tiny", **catalogue.entry("backbone", "tiny")), "cpu")


@pytest.fixture(scope="module")
def double():
    """The same in float64."""
    tower = text_tower.load(build(Backbone, name="tiny", **catalogue.entry("backbone", "tiny")), "cpu")
    tower.loaded.model.double()
    return tower


def whole(model, ids, place, vector):
    """The feature of a prompt at all places of the tower, whose token at one place is a vector."""
    x = model.token_embedding(ids).clone()
    x = torch.cat([x[:place], vector[None], x[place + 1 :]]) + model.positional_embedding
    x = model.ln_final(model.transformer(x[None], attn_mask=model.attn_mask))[0]
    feature = x[ids.argmax()] @ model.text_projection
    return feature / feature.norm()


def naive(tower, image, centres, words, *, steps=30, lr=0.02, decay=0.01, weight=0.3):
    """Invert one image as written: every prompt whole, the loss with a cosine for each class, torch's AdamW."""
    model, tokens = tower.loaded.model, tower.loaded.tokenizer
    image, centres = torch.from_numpy(image), torch.from_numpy(centres)

    def loss(feature):
        near = torch.stack([1 + torch.dot(feature, centre) for centre in centres])
        return 1 - torch.dot(feature, image) + weight * near.mean()

    best = (math.inf, None)
    for word in words:
        plain = word.replace("_", " ")
        ids = tokens([f"a photo of a {plain}."])[0]
        place = int((tokens([f"a photo of a {plain}"])[0] != 0).sum()) - 2
        start = model.token_embedding(ids)[place].detach()
        value = float(loss(whole(model, ids, place, start)))
        best = min(best, (value, (ids, place, start)), key=lambda each: each[0])
    ids, place, start = best[1]
    vector = start.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([vector], lr=lr, weight_decay=decay)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(whole(model, ids, place, vector)).backward()
        optimizer.step()
    return whole(model, ids, place, vector).detach().numpy()


def images(count, seed=0):
    return normalise(np.random.default_rng(seed).normal(size=(count, 96)))


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_many_images_at_once_are_each_inverted_alone_in_whole_prompts(double, weight):
    given, centres = images(4), images(3, 1)
    away = weight * centres.mean(axis=0)
    got = Inversion(double, WORDS).of(given - away, **RECIPE)
    expected = [naive(double, image, centres, WORDS, weight=weight) for image in given]
    np.testing.assert_allclose(got, expected, rtol=0, atol=EXACT)
    assert np.abs(got - Inversion(double, WORDS).of(given - away, steps=0, lr=1, decay=0)).max() > 0.05


def test_the_words_own_prompts_are_those_of_encode_text(tiny):
    inversion = Inversion(tiny, WORDS)
    tokens = tiny.loaded.tokenizer([f"a photo of a {word.replace('_', ' ')}." for word in WORDS])
    expected = tiny.loaded.model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(inversion.features, expected, rtol=0, atol=1e-6)
    nearest = inversion.features[(images(9) @ inversion.features.T).argmax(axis=1)]
    np.testing.assert_allclose(inversion.of(images(9), steps=0, lr=0.02, decay=0.01), nearest, rtol=0, atol=1e-6)


@pytest.mark.parametrize("room", [1, 25])
def test_little_room_and_the_plain_way_change_nothing(double, room, monkeypatch):
    expected = Inversion(double, WORDS).of(images(7), **RECIPE)
    np.testing.assert_allclose(
        Inversion(PlainTower(double.loaded), WORDS).of(images(7), **RECIPE), expected, rtol=0, atol=EXACT
    )
    monkeypatch.setattr(double, "_room", room)
    np.testing.assert_allclose(Inversion(double, WORDS).of(images(7), **RECIPE), expected, rtol=0, atol=EXACT)


def test_single_precision_ends_near_double(tiny, double):
    single, exact = (Inversion(tower, WORDS).of(images(32), **RECIPE) for tower in (tiny, double))
    assert (single * exact).sum(axis=1).min() > 1 - 1e-5


def test_words_that_the_tower_never_saw_or_would_cut_are_refused(tiny):
    with pytest.raises(Skip, match="never saw the word 'nice'"):
        Inversion(tiny, ["nice"])
    with pytest.raises(
        Skip, match=r"1 prompt of negative texts, the first 'a photo of a red .* is too long for the 32"
    ):
        Inversion(tiny, ["yellow", " ".join(["red"] * 40)])


# ---------------------------------------------------------------------------------------------------------- the score

ENCODER = Encoder(build(Backbone, name="tiny", **catalogue.entry("backbone", "tiny")), "concepts")
FEW = {"T": 0.05, "groups": 2, "count": 4, "steps": 3, "batch": 16, "threshold": 0.55, "length": 9, "buffer": 7}


@pytest.fixture(scope="module")
def world(tiny):
    """Images near the texts of classes and elsewhere, four shots a class, and words of which all four survive."""

    def of(texts):
        return tiny.loaded.model.encode_text(tiny.loaded.tokenizer(texts), normalize=True).double().numpy()

    rng = np.random.default_rng(3)
    class_texts = normalise(of([f"a photo of a {name}." for name in CLASSES]))
    labels = np.repeat(np.arange(3), 4)
    shots = normalise(class_texts[labels] + 0.03 * rng.normal(size=(12, 96)))
    words = [word.replace("_", " ") for word in WORDS]
    near = class_texts[rng.integers(3, size=40)] + 0.08 * rng.normal(size=(40, 96))
    away = of([f"a photo of a {word}." for word in words])[rng.integers(5, size=60)] + 0.1 * rng.normal(size=(60, 96))
    features = normalise(np.vstack([near, away])[rng.permutation(100)])
    texts = TextList(normalise(of([f"a {word}." for word in words])), words, ["noun"] * 5)
    return features, class_texts, Bank(shots, labels, 4), texts


def run(world, **changes):
    features, class_texts, bank, texts = world
    params = {**FEW, "labels": texts, **changes}
    rows = params.pop("rows", slice(None))
    return registry.find("score", "tins").make(
        features[rows], features[rows] @ class_texts.T, class_texts, bank, ENCODER, **params
    )


def naive_tins(world, tower, *, T, groups, count, steps, batch, threshold, length, buffer, weight=0.3, seed=0):
    features, class_texts, bank, texts = world
    chosen = inter_modal(texts, class_texts, bank, count=count)
    centres = normalise(np.array([bank.features[bank.labels == k].mean(axis=0) for k in range(3)]))
    own = [float(t @ mu) for t, mu in zip(class_texts, centres, strict=True)]
    fixed = [texts.features[row] for row in chosen]
    kept, waiting, drew, found = [], [], 0, []

    def share(image):
        others = [*fixed, *(text for _, text in kept)]
        size = len(others) // groups
        order = np.random.default_rng(seed).permutation(size * groups)
        classes = math.fsum(math.exp(float(image @ t) / T) for t in class_texts)
        shares = []
        for g in range(groups):
            powers = [math.exp(float(image @ others[place]) / T) for place in order[g * size : (g + 1) * size]]
            shares.append(classes / (classes + len(class_texts) * math.fsum(powers) / size))
        return math.fsum(shares) / groups

    for start in range(0, len(features), batch):
        part = features[start : start + batch]
        before = [share(image) for image in part]
        new = []
        for image in (image for image, value in zip(part, before, strict=True) if value < threshold):
            text = naive(tower, image, centres, [texts.names[row] for row in chosen], steps=steps, weight=weight)
            if all(float(text @ mu) < mine for mu, mine in zip(centres, own, strict=True)):
                new.append((np.mean([mine - float(text @ mu) for mu, mine in zip(centres, own, strict=True)]), text))
        if new:
            ranked = sorted([*kept, *new], key=lambda each: -each[0])
            kept, waiting = ranked[:length], waiting + ranked[length:] * bool(buffer)
            if buffer and len(waiting) >= buffer:
                pool = kept + sorted(waiting, key=lambda each: -each[0])[: len(waiting) // 2]
                kept = [pool[place] for place in TorchDraws(seed).permutation(len(pool))[:length]]
                waiting, drew = [], drew + 1
            before = [share(image) for image in part]
        found += before
    return found, len(kept), drew


@pytest.mark.parametrize("changes", [{}, {"buffer": 0, "length": 5}, {"groups": 1, "weight": 2.0, "batch": 100}])
def test_tins_against_the_recipe(world, double, changes):
    params = {**FEW, **changes}
    expected, kept, drew = naive_tins(world, double, **params)
    state = {}
    # the score's tower is in single precision: so are the inverted texts
    np.testing.assert_allclose(run(world, state=state, **changes), expected, rtol=0, atol=2e-4)
    assert len(state["kept"]) == kept == params["length"]
    assert (drew > 0) == (params["buffer"] > 0)


def test_without_inversion_tins_is_interneg_with_group_means(world):
    features, class_texts, bank, texts = world
    expected = registry.find("score", "interneg").make(
        features, features @ class_texts.T, class_texts, bank, labels=texts, T=0.05, groups=2, count=4, group="mean"
    )
    np.testing.assert_array_equal(run(world, threshold=0.0), expected)
    assert not np.allclose(run(world), expected, atol=1e-3)


def test_what_comes_later_changes_nothing_and_a_stream_goes_on(world):
    state = {}
    parts = [run(world, rows=rows, state=state) for rows in (slice(32), slice(32, 80), slice(80, None))]
    np.testing.assert_array_equal(np.concatenate(parts), run(world))
    alone = run(world, threshold=0.0, state=dict(state))  # frozen, each sample is scored alone
    np.testing.assert_allclose(alone[::-1], run(world, threshold=0.0, state=dict(state), rows=slice(None, None, -1)))


@pytest.mark.parametrize(
    "change", [{"gaps": np.ones(2)}, {"kept": np.ones((1, 7))}, {"waiting_gaps": np.array([np.nan])}]
)
def test_a_state_of_something_else_is_refused_in_a_line(world, change):
    state = {}
    run(world, state=state, threshold=0.0)
    state |= {"kept": np.ones((1, 96)), "gaps": np.ones(1), "waiting": np.ones((1, 96)), "waiting_gaps": np.ones(1)}
    run(world, state=dict(state), threshold=0.0)
    with pytest.raises(OodgridError, match=r"^tins: state "):
        run(world, state=state | change)


@pytest.mark.parametrize("change", [{"steps": 7}, {"weight": 0.2}, {"length": 90}, {"buffer": 30}, {"count": 5}])
def test_a_state_that_was_left_with_other_parameters_is_refused(world, change):
    state = {}
    run(world, state=state, threshold=0.0)
    with pytest.raises(OodgridError, match=r"^tins: state was left with other classes, texts or parameters"):
        run(world, state=state, **change)


def test_streams_of_none_and_no_inverted_text_that_is_kept(world):
    assert run(world, rows=slice(0)).shape == (0,)
    state = {}
    run(world, state=state, threshold=0.0)
    del state["identity"]
    assert {name: len(values) for name, values in state.items()} == dict.fromkeys(state, 0)


def test_the_text_tower_and_the_weights_are_in_its_identity_and_in_no_other():
    files = {name: {file.parent.name for file in code_files("oodgrid.score.values", f"oodgrid.score.scores.{name}")}
             for name in ("tins", "interneg", "mcm")}  # fmt: skip
    assert {name for name, folders in files.items() if "text_tower" in folders} == {"tins"}
    assert ENCODER.identity == {**ENCODER.backbone.identity, "weights_sha256": None}


def test_it_says_what_it_looks_at():
    entry = registry.find("score", "tins")
    assert entry.transductive
    assert entry.keeps_state
    assert entry.looks_at == [
        "the samples of the test stream before it", "labelled shots", "texts beside the classes", "the text tower",
    ]  # fmt: skip


def test_in_the_library_words_and_the_right_backbone_are_needed(world):
    features, class_texts, bank, texts = world
    given = (features, features @ class_texts.T, class_texts, bank.features, bank.labels)
    with pytest.raises(OodgridError, match="score tins: labels: beside backbone it needs words too: give a text file"):
        scores.tins(*given, "tiny", labels=texts.features)
    with pytest.raises(OodgridError, match="score tins: backbone is a name of the catalogue or a mapping, not 7"):
        scores.tins(*given, 7, labels=texts.features)
