"""ReNeg on TANL and TINS, the texts inverted through the tiny tower, against loops over samples and names."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import catalogue, registry, text_tower
from oodgrid.config import Backbone, build
from oodgrid.errors import OodgridError
from oodgrid.score import reneg
from oodgrid.score.activated import Params, Queues
from oodgrid.score.contract import Bank, Encoder, Skip, TextList, normalise
from oodgrid.score.scores.reneg_tanl_tins import reneg_tanl_tins
from oodgrid.scores import states
from tests.score.naive_reneg import Naive, odds_of

WORDS = ["gradient", "red circle", "low resolution", "video game", "yellow"]
NAMES = ["red ring", "green square", "blue circle", "gradient", "yellow cross", "green cross"]
CLASSES = ["red square", "green ring", "blue cross"]
ENCODER = Encoder(build(Backbone, name="tiny", **catalogue.entry("backbone", "tiny")), "concepts")
BASE = {"T": 0.05, "batch": 16}
OF_TANL = {"count": 4, "length": 12}
FEW = BASE | OF_TANL | {"groups": 2, "mined": 4, "steps": 3, "threshold": 0.55, "kept": 9}


@pytest.fixture(autouse=True)
def few_directions(monkeypatch):
    monkeypatch.setattr(reneg, "DIRECTIONS", 20)


@pytest.fixture(scope="module")
def world():
    """Images near the texts of classes, of names and of words, and four shots a class."""
    tower = text_tower.load(ENCODER.backbone, "cpu")

    def of(names):
        prompts = [f"a photo of a {name}." for name in names]
        return tower.loaded.model.encode_text(tower.loaded.tokenizer(prompts), normalize=True).double().numpy()

    rng = np.random.default_rng(3)
    class_texts = normalise(of(CLASSES))
    which = np.repeat(np.arange(3), 4)
    bank = Bank(normalise(class_texts[which] + 0.05 * rng.normal(size=(12, 96))), which, 4)
    words = TextList(normalise(of(WORDS)), WORDS, ["noun"] * 5)
    pool = TextList(normalise(of(NAMES)), NAMES, ["a", "a", "b", "b", "", ""])
    noise = TextList(normalise(rng.normal(size=(4, 96))), [str(n) for n in range(4)], [""] * 4)
    parts = [texts[rng.integers(len(texts), size=count)] for texts, count in
             ((class_texts, 34), (pool.features, 40), (words.features, 22))]  # fmt: skip
    features = np.vstack(parts)
    features = normalise(features + 0.06 * rng.normal(size=features.shape))[rng.permutation(96)]
    return features, class_texts, bank, {"labels": words, "pool": pool, "noise": noise}


def run(world, rows=slice(None), **changes):
    features, class_texts, bank, lists = world
    bank = changes.pop("bank", bank)
    given = (features[rows], features[rows] @ class_texts.T, class_texts, bank, ENCODER)
    return reneg_tanl_tins(*given, **{**FEW, **lists, **changes})


def bases(world):
    """The shares of TINS without a buffer, those of TANL, and which samples TANL is sure are ID."""
    features, class_texts, bank, lists = world
    logits, words = features @ class_texts.T, lists["labels"]
    of_tins = {"groups": 2, "count": 4, "steps": 3, "threshold": 0.55, "length": 9, "buffer": 0}
    tins = registry.find("score", "tins").make(
        features, logits, class_texts, bank, ENCODER, labels=words, **BASE, **of_tins
    )
    queues = Queues(class_texts, words.features, lists["noise"].features, Params(**BASE, **OF_TANL), {}, "tanl")
    return tins, *queues.follow(features, logits)


def naive(world, base, mode, weight=0.25):
    features, class_texts, bank, lists = world
    of_tins, of_tanl, sure = bases(world)
    odds = [odds_of(share) for share in of_tins]
    if base == "both":
        odds = [(odds_of(share) + one) / 2 for share, one in zip(of_tanl, odds, strict=True)]
    sure = sure.tolist() if base == "both" else [True] * len(features)
    labelled = list(zip(bank.features.tolist(), bank.labels.tolist(), strict=True))
    kept = Naive(lists["pool"], 3, mode, labelled, unvoted=True)
    background = normalise(np.random.default_rng(0).normal(size=(20, 96))).tolist()
    samples, logits, scores = features.tolist(), (features @ class_texts.T).tolist(), []
    for start in range(0, len(features), 16):
        batch = [each[start : start + 16] for each in (samples, logits, odds, sure)]
        scores += [kept.score(*each, 0.05, weight, background) for each in zip(*batch[:3], strict=True)]
        kept.see(*batch, 0.05)
    return scores, kept


@pytest.mark.parametrize("mode", ["balanced", "max", "safe"])
@pytest.mark.parametrize("base", ["both", "tins"])
def test_against_the_recipe(world, base, mode):
    expected, kept = naive(world, base, mode)
    state = {}
    np.testing.assert_allclose(run(world, base=base, mode=mode, state=state), expected, rtol=1e-8, atol=1e-10)
    counts = [len(each) for each in kept.caught]
    assert sum(count >= 2 for count in counts) > 2
    assert 12 < sum(map(len, kept.of_class)) < 96 and len(state["tins_kept"]) > 0
    assert not np.allclose(run(world, base=base, mode=mode), run(world, base=base, mode=mode, weight=0), atol=1e-3)


def test_who_is_sure_decides_how_classes_look(world):
    """Softmax, TANL and the vote have each something to say: without one of them the naive score is another."""
    _, _, sure = bases(world)
    full, kept = naive(world, "both", "balanced")
    of_tins, _ = naive(world, "tins", "balanced")
    assert 0 < sure.sum() < len(sure)
    assert not np.allclose(full, of_tins, atol=1e-3)
    assert sum(map(len, kept.of_class)) - 12 < sure.sum()


def test_identities(world):
    features, class_texts, bank, lists = world
    of_tins, of_tanl, _ = bases(world)
    np.testing.assert_array_equal(run(world, base="tins", weight=0), reneg.log_odds(of_tins))
    mean = (reneg.log_odds(of_tanl) + reneg.log_odds(of_tins)) / 2
    np.testing.assert_array_equal(run(world, weight=0), mean)
    static = registry.find("score", "reneg_tins").make(
        features, features @ class_texts.T, class_texts, bank,
        labels=lists["labels"], pool=lists["pool"], groups=2, count=4, **BASE,
    )  # fmt: skip
    np.testing.assert_array_equal(run(world, base="tins", threshold=0.0), static)
    assert not np.allclose(run(world, base="tins"), static, atol=1e-3)


@pytest.mark.parametrize("base", ["both", "tins"])
def test_a_stream_goes_on_to_the_bit_through_a_file(world, base, tmp_path):
    whole, state, parts = run(world, base=base), {}, []
    for part in (slice(0, 48), slice(48, 64), slice(64, None)):
        state = states.read_state(tmp_path / "state") if state else state
        parts.append(run(world, part, base=base, state=state))
        states.write_state(tmp_path / "state", state)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_state_of_something_else_is_refused_in_a_line(world):
    state = {}
    run(world, slice(32), state=state)
    lacking = [
        {name: values for name, values in state.items() if name != gone} for gone in ("tins_kept", "id", "looks")
    ]
    for other in ({"x": np.ones(2)}, *lacking, state | {"tins_gaps": np.ones((2, 2))}):
        with pytest.raises(OodgridError, match=r"^reneg_tanl_tins: state has "):
            run(world, slice(32), state=other)
    for changes in ({"base": "tins"}, {"mined": 3}, {"kept": 8}, {"gap": 0.5}, {"mode": "max"}, {"threshold": 0.5}):
        with pytest.raises(
            OodgridError, match=r"^reneg_tanl_tins: state was left with other classes, texts or parameters"
        ):
            run(world, slice(32), state=dict(state), **changes)


def test_without_names_or_shots_of_a_class_there_is_no_score(world):
    *_, bank, _ = world
    none = TextList(np.empty((0, 96)), [], [])
    with pytest.raises(Skip, match="no name is in the pool"):
        run(world, slice(16), pool=none)
    with pytest.raises(Skip):
        run(world, slice(16), bank=Bank(bank.features[:8], bank.labels[:8], 4))


def test_it_says_what_it_looks_at():
    entry = registry.find("score", "reneg_tanl_tins")
    assert entry.transductive and entry.keeps_state
    assert entry.looks_at == [
        "the samples of the test stream before it", "labelled shots", "texts beside the classes", "the text tower",
    ]  # fmt: skip
