"""Scores that look back at the stream, against loops over samples and labels that keep every array of the recipe."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import entr
from scipy.special import softmax as softmax_of_rows

from oodgrid import registry
from oodgrid.errors import OodgridError
from oodgrid.score import memory
from oodgrid.score.activated import otsu
from oodgrid.score.contract import Skip, TextList, normalise
from oodgrid.score.draws import TorchDraws
from oodgrid.score.mining import farthest_and_nearest, most_unlike
from oodgrid.scores import states

WIDTH, CLASSES, SAMPLES = 6, 4, 160
RNG = np.random.default_rng(12)
CLASS_TEXTS = normalise(RNG.normal(size=(CLASSES, WIDTH)))
LABELS = TextList(normalise(RNG.normal(size=(11, WIDTH))), [f"label {i}" for i in range(11)], [""] * 11)
FEATURES = normalise(RNG.normal(size=(SAMPLES, WIDTH)))
LOGITS = FEATURES @ CLASS_TEXTS.T
NOISE = TextList(normalise(RNG.normal(size=(5, WIDTH))), [f"noise {i}" for i in range(5)], [""] * 5)
SMALL = {  # parameters under which memories of so few labels fill, overflow and stay empty
    "clipscope": {"labels": LABELS, "T": 0.2, "rank": 2, "each": 3},
    "tanl": {
        "labels": LABELS,
        "noise": NOISE,
        "T": 0.2,
        "count": 6,
        "length": 12,
        "gap": 0.2,
        "alpha": 0.95,
        "batch": 16,
    },
    "adaneg": {"labels": LABELS, "T": 0.2, "groups": 2, "keep": 1.0, "length": 4, "gap": 0.1, "batch": 16},
}


def run(name, features=FEATURES, logits=LOGITS, class_texts=CLASS_TEXTS, **changes):
    return registry.find("score", name).make(features, logits, class_texts, **{**SMALL[name], **changes})


def softmax(values, T):
    top = max(values)
    shares = [math.exp((value - top) / T) for value in values]
    return [share / math.fsum(shares) for share in shares]


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


# -------------------------------------------------------------------------------------------------- what holds for both


@pytest.mark.parametrize("name", SMALL)
def test_registered_as_transductive(name):
    entry = registry.find("score", name)
    assert entry.transductive
    assert entry.family == "vision-language"
    assert entry.needs == ("features", "logits", "class_texts")
    assert entry.label_lists == (("labels", "noise") if name == "tanl" else ("labels",))
    assert entry.keeps_state
    assert entry.params["order"] == 0


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_of_the_order_is_not_the_scores_business(name):
    np.testing.assert_array_equal(run(name, order=7), run(name))


@pytest.mark.parametrize("name", SMALL)
def test_the_order_of_the_stream_matters(name):
    order = np.random.default_rng(0).permutation(SAMPLES)
    assert not np.allclose(run(name, FEATURES[order], LOGITS[order]), run(name)[order], rtol=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_what_comes_later_changes_nothing(name):
    np.testing.assert_allclose(run(name, FEATURES[:64], LOGITS[:64]), run(name)[:64], rtol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_classes_may_change_places(name):
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(run(name, FEATURES, LOGITS[:, order], CLASS_TEXTS[order]), run(name), rtol=1e-11)


@pytest.mark.parametrize("name", SMALL)
def test_how_many_threads_a_job_has_changes_nothing(monkeypatch, name):
    found = []
    for threads in (1, 3):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        found.append(run(name))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", SMALL)
def test_streams_of_none_and_of_one(name):
    assert run(name, FEATURES[:0], LOGITS[:0]).shape == (0,)
    assert run(name, FEATURES[:1], LOGITS[:1]).shape == (1,)


@pytest.mark.parametrize("name", SMALL)
def test_without_labels_there_is_no_score(name):
    with pytest.raises(Skip, match="no negative text is left of 0 candidates"):
        run(name, labels=TextList(np.empty((0, WIDTH)), [], []))


@pytest.mark.parametrize("name", SMALL)
def test_what_is_given_stays_as_it_was(name):
    given = [FEATURES.copy(), LOGITS.copy(), CLASS_TEXTS.copy()]
    for array in given:
        array.flags.writeable = False
    np.testing.assert_array_equal(run(name, *given), run(name))


# ----------------------------------------------------------------------------------------------------------- clipscope


def naive_confidence(row, logits, labels, T):
    together = softmax([*logits, *(dot(row, label) for label in labels)], T)
    return max(softmax(logits, T)) * math.fsum(together[: len(logits)])


def naive_clipscope(features, logits, class_texts, labels, T, rank, each):
    chosen = labels.features[farthest_and_nearest(labels, class_texts, rank=rank, each=each)].tolist()
    counts, scores = [1] * len(class_texts), []
    for row, own in zip(features.tolist(), logits.tolist(), strict=True):
        k = own.index(max(own))
        scores.append(naive_confidence(row, own, chosen, T) / (counts[k] / sum(counts)))
        counts[k] += 1
    return scores


@pytest.mark.parametrize(("T", "rank", "each"), [(0.2, 2, 3), (0.01, 50, 5000), (1.0, 1, 1)])
def test_clipscope_against_the_recipe(T, rank, each):
    expected = naive_clipscope(FEATURES, LOGITS, CLASS_TEXTS, LABELS, T, rank, each)
    np.testing.assert_allclose(run("clipscope", T=T, rank=rank, each=each), expected, rtol=1e-9)


def test_clipscope_of_a_method_with_logits_of_its_own():
    logits = np.random.default_rng(1).normal(size=LOGITS.shape)
    expected = naive_clipscope(FEATURES, logits, CLASS_TEXTS, LABELS, 0.2, 2, 3)
    np.testing.assert_allclose(run("clipscope", logits=logits), expected, rtol=1e-10)


def test_frozen_clipscope_is_msp_times_the_classes_share():
    chosen = farthest_and_nearest(LABELS, CLASS_TEXTS, rank=2, each=3)
    labels = TextList(LABELS.features[chosen], ["x"] * len(chosen), [""] * len(chosen))
    mass = registry.find("score", "neglabel").make(
        FEATURES, LOGITS, CLASS_TEXTS, labels=labels, keep=1.0, groups=1, T=0.2
    )
    expected = registry.find("score", "msp").make(LOGITS, T=0.2) * mass
    np.testing.assert_allclose(run("clipscope", frozen=True), expected, rtol=1e-12)
    alone = [run("clipscope", FEATURES[i : i + 1], LOGITS[i : i + 1])[0] for i in range(SAMPLES)]
    np.testing.assert_allclose(alone, CLASSES * expected, rtol=1e-12)  # all counts are 1: the prior is 1 / K
    order = np.random.default_rng(0).permutation(SAMPLES)
    np.testing.assert_allclose(run("clipscope", FEATURES[order], LOGITS[order], frozen=True), expected[order])


def test_a_class_that_comes_often_scores_lower_each_time():
    """The same image again and again: counts 1, 2, 3, ... of sums K, K + 1, K + 2, ..."""
    got = run("clipscope", np.tile(FEATURES[:1], (9, 1)), np.tile(LOGITS[:1], (9, 1)))
    steps = np.arange(9)
    np.testing.assert_allclose(got / got[0], (CLASSES + steps) / CLASSES / (1 + steps), rtol=1e-12)


def test_clipscope_of_one_class_is_the_share_alone():
    got = run("clipscope", FEATURES, LOGITS[:, :1], CLASS_TEXTS[:1])
    chosen = LABELS.features[farthest_and_nearest(LABELS, CLASS_TEXTS[:1], rank=2, each=3)].tolist()
    expected = [naive_confidence(row, own[:1], chosen, 0.2) for row, own in zip(FEATURES, LOGITS, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_of_a_tie_the_first_class_is_counted():
    logits = np.array([[0.5, 0.5], [0.1, 0.5], [0.5, 0.1]])
    got = run("clipscope", FEATURES[:3], logits, CLASS_TEXTS[:2])
    ratio = got / run("clipscope", FEATURES[:3], logits, CLASS_TEXTS[:2], frozen=True)
    np.testing.assert_allclose(ratio, [2 / 1, 3 / 1, 4 / 2], rtol=1e-12)


# -------------------------------------------------------------------------------------------------------------- adaneg


def naive_share(own, others, groups, T):
    size = len(others) // groups
    shares = [softmax([*own, *others[g * size : (g + 1) * size]], T) for g in range(groups)]
    return math.fsum(math.fsum(each[: len(own)]) for each in shares) / groups


def naive_adaneg(features, logits, class_texts, labels, *, T, groups, keep, length, gap, batch,
                 threshold=0.5, beta=5.0, weight=0.1, seed=0, quantile=0.95, precision="full"):  # fmt: skip
    """With a memory of 1 + length rows a label, zeros where empty, the text in row 0: as the code of record has it."""
    chosen = most_unlike(labels, class_texts, quantile=quantile, keep=keep)
    grouped = len(chosen) // groups * groups
    order = [*TorchDraws(seed).permutation(grouped), *range(grouped, len(chosen))]
    texts = [*class_texts.tolist(), *labels.features[chosen[order]].tolist()]
    classes, width = len(class_texts), len(texts[0])
    memory = [[text] + [[0.0] * width] * length for text in texts]
    entropies = [[0.0] * (1 + length) for _ in texts]
    place, replaced, scores = [1] * len(texts), 0, []

    def remember(label, row, chances):
        nonlocal replaced
        entropy = -math.fsum(p * math.log(min(p + 1e-8, 1)) for p in chances)
        if precision == "half":
            entropy = math.nan  # as where some probability is 0 in half precision, which here is each time
        if place[label] < length:
            slot = place[label]
            place[label] += 1
        elif any(entropy < other for other in entropies[label]):
            slot = max(range(1 + length), key=lambda i: entropies[label][i])
            replaced += 1
        else:
            return
        memory[label][slot], entropies[label][slot] = row, entropy

    for start in range(0, len(features), batch):
        stretch = list(
            zip(features[start : start + batch].tolist(), logits[start : start + batch].tolist(), strict=True)
        )
        static = []
        for row, own in stretch:
            others = [dot(row, text) for text in texts[classes:]]
            static.append(naive_share(own, others[:grouped], groups, T))
            if static[-1] > threshold + gap * (1 - threshold):
                remember(own.index(max(own)), row, softmax(own, T))
            if static[-1] < threshold - gap * threshold:
                remember(classes + others.index(max(others)), row, softmax(others, T))
        for (row, _), first in zip(stretch, static, strict=True):
            cosines = []
            for held in memory:
                weights = [math.exp(-beta * (1 - dot(row, each))) for each in held]
                proxy = [math.fsum(w * each[d] for w, each in zip(weights, held, strict=True)) for d in range(width)]
                cosines.append(dot(row, proxy) / math.sqrt(dot(proxy, proxy)))
            scores.append(
                naive_share(cosines[:classes], cosines[classes : classes + grouped], groups, T) + weight * first
            )
    return scores, place, replaced


@pytest.mark.parametrize(
    "changes",
    [{}, {"beta": 0.0}, {"beta": 5.0, "batch": 1}, {"batch": 1000}, {"length": 2}, {"length": 10}, {"groups": 5},
     {"weight": 1.0, "threshold": 0.3}, {"gap": 0.9}, {"T": 0.05, "gap": 0.5}, {"T": 0.005, "precision": "half"},
     {"T": 0.005, "precision": "half", "beta": 0.0}],
)  # fmt: skip
def test_adaneg_against_the_recipe(changes):
    params = {key: value for key, value in {**SMALL["adaneg"], **changes}.items() if key != "labels"}
    expected, place, replaced = naive_adaneg(FEATURES, LOGITS, CLASS_TEXTS, LABELS, **params)
    np.testing.assert_allclose(run("adaneg", **changes), expected, rtol=1e-9)
    if not changes:  # memories were filled and overwritten, and one at least was not full
        assert replaced > 5
        assert min(place) < params["length"] == max(place)


def test_adaneg_of_a_method_with_logits_of_its_own():
    logits = LOGITS + 0.3 * np.random.default_rng(1).normal(size=LOGITS.shape)
    params = {key: value for key, value in SMALL["adaneg"].items() if key != "labels"}
    expected, *_ = naive_adaneg(FEATURES, logits, CLASS_TEXTS, LABELS, **params)
    np.testing.assert_allclose(run("adaneg", logits=logits), expected, rtol=1e-9)


@pytest.mark.parametrize("changes", [{"length": 1}, {"gap": 1.0}, {"length": 1, "batch": 3}])
def test_without_memories_adaneg_is_neglabel(changes):
    """With one group, of which no draw decides."""
    share = registry.find("score", "neglabel").make(
        FEATURES, LOGITS, CLASS_TEXTS, labels=LABELS, keep=1.0, groups=1, T=0.2
    )
    np.testing.assert_allclose(run("adaneg", groups=1, **changes), 1.1 * share, rtol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_how_many_labels_at_a_time_changes_nothing(monkeypatch, chunk):
    whole = run("adaneg")
    monkeypatch.setattr(memory, "CHUNK", chunk)
    np.testing.assert_allclose(run("adaneg"), whole, rtol=1e-12)


def test_a_sharp_beta_takes_the_nearest_memory_and_beta_0_the_mean():
    held = FEATURES[:3]
    cosines = FEATURES @ CLASS_TEXTS[:1].T
    for beta in (0.0, 1e4):
        kept = memory.Memory(CLASS_TEXTS[:1], 3, beta, {})
        kept.remember(held, np.zeros(3, dtype=int), np.zeros(3))
        kept.adapt(FEATURES if beta == 0 else held, cosines if beta == 0 else cosines[:3])
        if beta == 0:
            mean = normalise(np.vstack([CLASS_TEXTS[:1], held]).sum(axis=0, keepdims=True))
            np.testing.assert_allclose(cosines, FEATURES @ mean.T, rtol=0, atol=1e-14)
            cosines = FEATURES @ CLASS_TEXTS[:1].T
    np.testing.assert_allclose(cosines[:3], np.ones((3, 1)), rtol=1e-12)


@pytest.mark.parametrize(("T", "all_nan"), [(0.005, True), (1.0, False)])
def test_entropies_in_half_precision_are_none_where_a_probability_is_zero(T, all_nan):
    """As torch computes them: 0 log 0 is not a number; where no probability underflows, they are, but for rounding."""
    logits = np.random.default_rng(3).uniform(-1, 1, size=(20, 300))
    half = memory.entropies(logits, T, half=True)
    assert np.isnan(half).all() == all_nan
    if not all_nan:
        np.testing.assert_allclose(half, memory.entropies(logits, T, half=False), rtol=5e-3)
        np.testing.assert_allclose(
            memory.entropies(logits, T, half=False), entr(softmax_of_rows(logits, axis=1)).sum(axis=1), 1e-6
        )


# ---------------------------------------------------------------------------------------------------------------- tanl


def naive_otsu(scores):
    best = []
    for step in range(100):
        threshold = float(np.float32(0.01 * step))
        sides = [[s for s in scores if (s >= threshold) == upper] for upper in (False, True)]
        best.append(math.inf if not all(sides) else sum(len(side) * np.var(side) for side in sides))
    least = [step for step in range(100) if abs(best[step] - min(best)) < 1e-12 or best[step] == min(best)]
    return float(np.float32(0.01 * least[len(least) // 2]))


def naive_tanl(
    features, logits, class_texts, labels, noise, *, T, count, length, gap, alpha, batch, recent=20000, seed=0
):
    texts, draws = labels.features, TorchDraws(seed)

    def active(own, others):
        return np.array([softmax([*a, *b], T)[len(a) :] for a, b in zip(own.tolist(), others.tolist(), strict=True)])

    def share(own, others):
        means = []
        for a, b in zip(own.tolist(), others.tolist(), strict=True):
            shares = [math.fsum(softmax([*a, *b[: i + 1]], T)[: len(a)]) for i in range(len(b))]
            means.append(math.fsum(shares) / len(shares))
        return means

    def chosen(ood, of_id):
        difference = ood.mean(axis=0) - of_id.mean(axis=0)
        return sorted(range(len(texts)), key=lambda j: -difference[j])[:count]

    first = [(rows @ class_texts.T, rows @ texts.T) for rows in (class_texts, noise)]
    queues = [active(*each)[draws.permutation(len(each[0]))][-length:] for each in first]
    selected = chosen(queues[1], queues[0])
    past = [value for own, others in first for value in share(own, others[:, selected])]
    scores = []
    for start in range(0, len(features), batch):
        own, others = logits[start : start + batch], features[start : start + batch] @ texts.T
        selected = chosen(queues[1], queues[0])
        sure = np.array(share(own, others[:, selected]))
        past = [*past, *sure.tolist()][-recent:]
        threshold = naive_otsu(past)
        each = active(own, others)
        sides = [each[sure > threshold + gap * (1 - threshold)], each[sure < threshold - gap * threshold]]
        blended = [
            (alpha * queue.mean(axis=0) + (1 - alpha) * side.mean(axis=0))[None] if len(side) else queue
            for queue, side in zip(queues, sides, strict=True)
        ]
        scores += share(own, others[:, chosen(blended[1], blended[0])])
        queues = [np.vstack([queue, side])[-length:] for queue, side in zip(queues, sides, strict=True)]
    return scores


@pytest.mark.parametrize(
    "changes",
    [{}, {"alpha": 0.0, "gap": 0.5}, {"alpha": 1.0}, {"batch": 1000}, {"batch": 7, "length": 2}, {"count": 1},
     {"count": 50}, {"recent": 30}, {"T": 0.01}, {"seed": 5, "length": 3}, {"gap": 1.0}],
)  # fmt: skip
def test_tanl_against_the_recipe(changes):
    params = {key: value for key, value in {**SMALL["tanl"], **changes}.items() if key not in ("labels", "noise")}
    expected = naive_tanl(FEATURES, LOGITS, CLASS_TEXTS, LABELS, NOISE.features, **params)
    np.testing.assert_allclose(run("tanl", **changes), expected, rtol=1e-9)


def test_the_threshold_of_tanl_is_otsu_s_and_of_equals_the_middle():
    draw = np.random.default_rng(8)
    for scores in (draw.uniform(size=50), draw.beta(0.3, 0.3, size=80), np.repeat([0.2, 0.8], 5), np.full(4, 0.3)):
        assert otsu(scores) == naive_otsu(scores.tolist())


# --------------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("name", SMALL)
def test_a_state_of_something_else_is_refused_in_a_line(name):
    others = {"counts": np.ones(9), "held": np.ones((1, 9)), "rows": np.ones((9, 9)), "filled": np.ones(9)}
    others |= {
        "identity": np.ones(32),
        "entropies": np.ones((9, 9)),
        "id": np.ones((1, 9)),
        "ood": np.ones((1, 8)),
        "scores": np.ones(1),
    }
    for state in ({"x": np.ones(2)}, others, dict.fromkeys(others, 7), dict.fromkeys(others)):
        with pytest.raises(OodgridError, match=f"^{name}: state "):
            run(name, state=dict(state))


@pytest.mark.parametrize("name", SMALL)
def test_a_state_left_with_other_texts_of_the_same_number_is_refused_in_a_line(name):
    state = {}
    whole = run(name, state=state)
    again = TextList(LABELS.features + 1e-9, LABELS.names, LABELS.kinds)  # as another machine may encode them
    run(name, labels=again, state=dict(state))
    other = normalise(LABELS.features + 0.01 * RNG.normal(size=LABELS.features.shape))
    for changes in (
        {"labels": TextList(other, LABELS.names, LABELS.kinds)},
        {"class_texts": CLASS_TEXTS[::-1]},
        {"T": 0.3},
    ):
        with pytest.raises(
            OodgridError, match=f"^{name}: state was left with other classes, texts or parameters: give"
        ):
            run(name, state=dict(state), **changes)
    np.testing.assert_array_equal(run(name, state={}), whole)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("adaneg", {"rows": lambda values: values + 10**6}),
        ("adaneg", {"filled": lambda values: values + 5}),
        ("adaneg", {"filled": lambda values: values - 5}),
        ("adaneg", {"held": lambda values: values[:0]}),
        ("tanl", {"id": lambda values: values[:0]}),
        ("tanl", {"ood": lambda values: values * np.nan}),
        ("tanl", {"scores": lambda values: values * np.nan}),
    ],
)
def test_a_state_whose_numbers_do_not_fit_together_is_refused_in_a_line(name, changes):
    state = {}
    run(name, state=state)
    whole = run(name, state={key: values.astype(np.float64) for key, values in state.items()})
    np.testing.assert_array_equal(run(name, state=dict(state)), whole)  # whatever the kind of its numbers
    with pytest.raises(OodgridError, match=f"^{name}: state has .*: give what the same score"):
        run(name, state=state | {key: change(state[key]) for key, change in changes.items()})


@pytest.mark.parametrize("changes", [{}, {"beta": 0.0}, {"precision": "half", "T": 0.02}])
@pytest.mark.parametrize("name", SMALL)
def test_a_stream_that_goes_on_is_the_stream_to_the_bit(name, changes, tmp_path):
    """Cut where batches end, with what is remembered written to a file and read again at each cut."""
    changes = {key: value for key, value in changes.items() if key in registry.find("score", name).params}
    whole, state, parts = run(name, **changes), {}, []
    for part in (slice(0, 48), slice(48, 64), slice(64, SAMPLES)):
        state = states.read_state(tmp_path / "state.h5") if state else state
        parts.append(run(name, FEATURES[part], LOGITS[part], state=state, **changes))
        states.write_state(tmp_path / "state.h5", state)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
