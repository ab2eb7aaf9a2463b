"""ReNeg against loops over samples and names that keep every list of the recipe, on its three bases."""

from __future__ import annotations

import numpy as np
import pytest

from oodgrid import registry
from oodgrid.errors import OodgridError
from oodgrid.score import reneg
from oodgrid.score.activated import Params, Queues
from oodgrid.score.contract import Bank, Skip, TextList, normalise
from oodgrid.scores import states
from tests.score.naive_reneg import Naive, dot, log_sum, naive_threshold, odds_of

WIDTH, CLASSES, SAMPLES, NAMES = 8, 4, 240, 9
RNG = np.random.default_rng(5)
CENTRES = normalise(RNG.normal(size=(CLASSES + NAMES, WIDTH)))
CLASS_TEXTS = CENTRES[:CLASSES]


def near(which, spread, rng=RNG):
    return normalise(CENTRES[which] + spread * rng.normal(size=(len(which), WIDTH)))


def texts(features, kinds=None):
    return TextList(features, [f"text {i}" for i in range(len(features))], kinds or [""] * len(features))


LABELS = texts(normalise(RNG.normal(size=(30, WIDTH))))
NOISE = texts(normalise(RNG.normal(size=(5, WIDTH))))
POOL = texts(CENTRES[CLASSES:], ["a", "a", "a", "b", "b", "b", "", "", "c"])
FEATURES = near(RNG.integers(CLASSES + NAMES - 2, size=SAMPLES), 0.15)  # two names never catch anything
LOGITS = FEATURES @ CLASS_TEXTS.T
SHOTS = np.arange(3 * CLASSES) % CLASSES
BANK = Bank(near(SHOTS, 0.1), SHOTS, 3)
COMMON = {"labels": LABELS, "pool": POOL, "T": 0.1, "batch": 24}
SMALL = {
    "reneg": COMMON | {"noise": NOISE, "count": 12, "length": 20},
    "reneg_tins": COMMON | {"groups": 2, "count": 9},
    "reneg_neglabel": COMMON | {"keep": 1.0},
}
MODES = ("balanced", "max", "safe")
TANL = ("noise", "labels", "T", "count", "length", "batch")


@pytest.fixture(autouse=True)
def few_directions(monkeypatch):
    monkeypatch.setattr(reneg, "DIRECTIONS", 50)


def run(name, features=FEATURES, logits=LOGITS, class_texts=CLASS_TEXTS, **changes):
    bank = [BANK] if name == "reneg_tins" else []
    return registry.find("score", name).make(features, logits, class_texts, *bank, **{**SMALL[name], **changes})


def base_of(name):
    """Return the base's score of the whole stream, by the score itself."""
    if name == "reneg":
        params = {key: value for key, value in SMALL["reneg"].items() if key in TANL}
        return registry.find("score", "tanl").make(FEATURES, LOGITS, CLASS_TEXTS, **params)
    return registry.find("score", "interneg").make(
        FEATURES, LOGITS, CLASS_TEXTS, BANK, labels=LABELS, T=0.1, groups=2, count=9, group="mean"
    )


def surely_id():
    """Return which samples TANL is sure are ID."""
    params = {key: value for key, value in SMALL["reneg"].items() if key in TANL}
    of_noise, labels = params.pop("noise").features, params.pop("labels").features
    return Queues(CLASS_TEXTS, labels, of_noise, Params(**params), {}, "tanl").follow(FEATURES, LOGITS)[1]


def naive(name, mode, weight=0.25, among=True):
    T, batch = 0.1, 24
    labelled = list(zip(BANK.features.tolist(), SHOTS.tolist(), strict=True)) if name == "reneg_tins" else ()
    kept = Naive(POOL, CLASSES, mode, labelled, unvoted=name == "reneg_tins")
    background = normalise(np.random.default_rng(0).normal(size=(50, WIDTH))).tolist()
    base = [] if name == "reneg_neglabel" else [odds_of(share) for share in base_of(name)]
    sure = surely_id().tolist() if name == "reneg" else [True] * SAMPLES
    scores = []
    for start in range(0, SAMPLES, batch):
        samples, logits = FEATURES[start : start + batch].tolist(), LOGITS[start : start + batch].tolist()
        odds = base[start : start + batch]
        if name == "reneg_neglabel":
            for sample, own in zip(samples, logits, strict=True):
                against = [log_sum(dot(sample, text) / T for text in LABELS.features.tolist())]
                against += [kept.pool_mass(sample, T)] if among else []
                odds.append(log_sum(each / T for each in own) - log_sum(against))
        scores += [kept.score(*each, T, weight, background) for each in zip(samples, logits, odds, strict=True)]
        kept.see(samples, logits, odds, sure[start : start + batch], T)
    return scores, kept


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SMALL)
def test_against_the_recipe(name, mode):
    expected, kept = naive(name, mode)
    np.testing.assert_allclose(run(name, mode=mode), expected, rtol=1e-9, atol=1e-11)
    counts = [len(each) for each in kept.caught]
    assert min(counts) < 2 < max(counts)  # some names were judged, and some not
    assert sum(map(len, kept.of_class)) > 12
    assert not np.allclose(run(name, mode=mode), run(name, mode=mode, weight=0), atol=1e-3)


def test_names_may_stay_out_of_the_negative_texts():
    expected, _ = naive("reneg_neglabel", "max", among=False)
    np.testing.assert_allclose(run("reneg_neglabel", among=False), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
def test_without_the_plug_in_the_score_is_the_log_odds_of_its_base_to_the_bit(mode):
    for name in ("reneg", "reneg_tins"):
        np.testing.assert_array_equal(run(name, weight=0, mode=mode), reneg.log_odds(base_of(name)))
    share = registry.find("score", "neglabel").make(
        FEATURES, LOGITS, CLASS_TEXTS, labels=LABELS, T=0.1, keep=1.0, groups=1
    )
    alone = run("reneg_neglabel", weight=0, among=False, mode=mode)
    np.testing.assert_allclose(alone, np.log(share / (1 - share)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_names_and_classes_may_change_places(name):
    for order in (RNG.permutation(NAMES), np.arange(NAMES)[::-1]):
        moved = texts(POOL.features[order], [POOL.kinds[place] for place in order])
        np.testing.assert_allclose(run(name, pool=moved), run(name), rtol=1e-9, atol=1e-12)
    if name != "reneg_tins":
        order = np.array([2, 0, 3, 1])
        moved = run(name, FEATURES, LOGITS[:, order], CLASS_TEXTS[order])
        np.testing.assert_allclose(moved, run(name), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_what_clusters_are_called_is_all_one_and_what_they_hold_is_not(name):
    renamed = texts(POOL.features, [f"x{kind}" if kind else "" for kind in POOL.kinds])
    np.testing.assert_array_equal(run(name, pool=renamed), run(name))
    assert not np.allclose(run(name, pool=texts(POOL.features, ["one"] * NAMES)), run(name), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SMALL)
def test_what_comes_later_changes_nothing_and_a_stream_goes_on_to_the_bit(name, mode, tmp_path):
    whole, state, parts = run(name, mode=mode), {}, []
    np.testing.assert_allclose(run(name, FEATURES[:72], LOGITS[:72], mode=mode), whole[:72], rtol=1e-12)
    for part in (slice(0, 72), slice(72, 96), slice(96, SAMPLES)):
        state = states.read_state(tmp_path / "state") if state else state
        parts.append(run(name, FEATURES[part], LOGITS[part], mode=mode, state=state))
        states.write_state(tmp_path / "state", state)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("name", SMALL)
def test_a_state_of_something_else_is_refused_in_a_line(name):
    state = {}
    run(name, state=state)
    queues = [state | {"id": state["id"][:0]}] if name == "reneg" else []
    others = [{"x": np.ones(2)}, state | {"looks": state["looks"][1:]}, state | {"values": state["values"] * np.nan}]
    for other in (*others, *queues, state | {"caught": -state["caught"]}):
        with pytest.raises(OodgridError, match=f"^{name}: state has .*: give what the same score"):
            run(name, state=other)
    for changes in ({"mode": "safe"}, {"weight": 0.5}, {"pool": texts(POOL.features[::-1], POOL.kinds)}):
        with pytest.raises(OodgridError, match=f"^{name}: state was left with other classes, texts or parameters"):
            run(name, state=dict(state), **changes)


def test_a_state_that_began_with_other_labels_of_the_same_shots_is_refused(monkeypatch):
    state = {}
    run("reneg_tins", state=state)
    monkeypatch.setitem(globals(), "BANK", Bank(BANK.features, BANK.labels[::-1], 3))
    with pytest.raises(OodgridError, match=r"^reneg_tins: state was left with other classes, texts or parameters"):
        run("reneg_tins", state=state)


@pytest.mark.parametrize("name", SMALL)
def test_without_names_there_is_no_score(name):
    with pytest.raises(Skip, match="no name is in the pool"):
        run(name, pool=texts(np.empty((0, WIDTH))))


@pytest.mark.parametrize("name", SMALL)
def test_how_many_threads_a_job_has_changes_nothing(monkeypatch, name):
    found = []
    for threads in (1, 3):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        found.append(run(name, mode="max"))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", SMALL)
def test_streams_of_none_and_of_one(name):
    assert run(name, FEATURES[:0], LOGITS[:0]).shape == (0,)
    assert run(name, FEATURES[:1], LOGITS[:1]).shape == (1,)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_given_stays_as_it_was(name):
    given = [FEATURES.copy(), LOGITS.copy(), CLASS_TEXTS.copy()]
    for array in given:
        array.flags.writeable = False
    np.testing.assert_array_equal(run(name, *given), run(name))


def test_the_threshold_of_votes_is_otsu_s_over_quantiles():
    draw = np.random.default_rng(8)
    for values in (draw.normal(size=60), np.r_[draw.normal(size=30), draw.normal(9, 1, size=20)], np.ones(9)):
        assert reneg.threshold(values) == pytest.approx(naive_threshold(values.tolist()), rel=1e-12)
    two = np.r_[np.zeros(30), np.ones(20)]
    assert 0 < reneg.threshold(two) <= 1


def test_a_safe_correction_is_none_where_no_name_catches_the_sample():
    caught = (FEATURES @ POOL.features.T).max(axis=1) > LOGITS.max(axis=1)
    later = np.arange(SAMPLES) >= 48
    odds = run("reneg", weight=0)
    np.testing.assert_array_equal(run("reneg", mode="safe")[~caught & later], 0.75 * odds[~caught & later])
    assert (run("reneg", mode="safe") <= np.where(later, 0.75 * odds, np.inf))[later].all()
