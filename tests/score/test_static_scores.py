"""Static scores of 2024 to 2026, InterNeg, DPM and NegRefine, against loops in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from oodgrid import paths, registry, store
from oodgrid.config import Backbone, IdDataset
from oodgrid.score.contract import Bank, Head, Skip, TextList, normalise
from oodgrid.score.mining import inter_modal, most_unlike
from oodgrid.score.patterns import log_means_of_others
from oodgrid.score.texts import read_texts

CLASSES, WIDTH, SHOTS = 5, 12, 3
RNG = np.random.default_rng(7)
CENTRES = normalise(RNG.normal(size=(CLASSES, WIDTH)))
CLASS_TEXTS = normalise(CENTRES + 0.3 * RNG.normal(size=CENTRES.shape))
LABELS = np.repeat(np.arange(CLASSES), SHOTS)


def around(labels, noise, seed):
    rng = np.random.default_rng(seed)
    return normalise(CENTRES[labels] + noise * rng.normal(size=(len(labels), WIDTH)))


def bank_of(labels=LABELS, seed=1, noise=0.3, **more):
    return Bank(around(labels, noise, seed), labels, SHOTS, **{"head": Head(CLASS_TEXTS, np.zeros(CLASSES)), **more})


BANK, VAL = bank_of(), bank_of(np.tile(np.arange(CLASSES), 4), seed=2)
FEATURES = np.vstack([around(RNG.integers(CLASSES, size=20), 0.4, 3), normalise(RNG.normal(size=(10, WIDTH)))])
LOGITS = FEATURES @ CLASS_TEXTS.T


def words(count, kinds=("noun",), seed=4):
    near = CLASS_TEXTS[np.arange(count) % CLASSES] * (np.arange(count) % 3 == 0)[:, None]
    features = normalise(near + np.random.default_rng(seed).normal(size=(count, WIDTH)))
    return TextList(features, [f"word {i}" for i in range(count)], [kinds[i % len(kinds)] for i in range(count)])


def score(name, *inputs, **params):
    return registry.find("score", name).make(*inputs, **params)


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def unit(vector):
    norm = math.sqrt(dot(vector, vector))
    return [x / norm for x in vector]


def softmax(values, T):
    powers = [math.exp((value - max(values)) / T) for value in values]
    return [power / math.fsum(powers) for power in powers]


# ---------------------------------------------------------------------------------------------------------- InterNeg


def naive_inter_modal(labels, texts, bank, count):
    centres = []
    for c in range(len(texts)):
        rows = [unit(x) for x, y in zip(bank.features.tolist(), bank.labels, strict=True) if y == c]
        centres.append(unit([math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]))
    own = [dot(t, mu) for t, mu in zip(texts.tolist(), centres, strict=True)]
    gaps = {}
    for i, word in enumerate(labels.features.tolist()):
        cosines = [dot(word, mu) for mu in centres]
        if all(cosine < mine for cosine, mine in zip(cosines, own, strict=True)):
            gaps[i] = math.fsum(mine - cosine for cosine, mine in zip(cosines, own, strict=True)) / len(own)
    adjectives = [i for i in gaps if labels.kinds[i] == "adjective"]
    nouns = [i for i in gaps if labels.kinds[i] != "adjective"]
    count = min(count, len(gaps))
    first = int(count * (len(adjectives) / len(gaps)))
    ranked = [sorted(each, key=lambda i: -gaps[i]) for each in (adjectives, nouns)]
    return ranked[0][:first] + ranked[1][: count - first], len(gaps)


@pytest.mark.parametrize("kinds", [("noun",), ("",), ("noun", "adjective"), ("noun", "noun", "adjective")])
@pytest.mark.parametrize("count", [1, 7, 20, 2000])
def test_inter_modal_mining_against_the_recipe(kinds, count, capsys):
    labels = words(90, kinds)
    expected, survivors = naive_inter_modal(labels, CLASS_TEXTS, BANK, count)
    assert inter_modal(labels, CLASS_TEXTS, BANK, count=count).tolist() == expected
    assert 20 < survivors < 90
    said = capsys.readouterr().err
    assert (
        said == ""
        if count <= survivors
        else f"of 90 candidates {survivors} texts lie farther" in said and said.count("\n") == 1
    )


def test_that_fewer_are_mined_than_wanted_is_said_once_of_a_list_and_not_of_every_fit(capsys):
    labels = words(90, ("noun",))
    others = Bank(BANK.features[::-1].copy(), BANK.labels[::-1].copy(), BANK.shots)
    for bank, count in ((BANK, 2000), (others, 2000), (BANK, 1000), (others, 1000)):
        inter_modal(labels, CLASS_TEXTS, bank, count=count)
    lines = capsys.readouterr().err.splitlines()
    assert [("2000" in line or "2,000" in line, "1000" in line or "1,000" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]
    inter_modal(words(90, ("noun",)), CLASS_TEXTS, BANK, count=2000)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_as_many_are_mined_as_are_wanted_whatever_kinds_there_are():
    for kinds in (list("abc"), list("abcdefg"), ["a"] * 30 + ["b", "c"]):
        labels = words(200, kinds)
        for count in (1, 2, 13, 50):
            chosen = inter_modal(labels, CLASS_TEXTS, BANK, count=count)
            assert len(set(chosen)) == len(chosen) == count


@pytest.mark.parametrize("group", ["sum", "mean"])
@pytest.mark.parametrize(("count", "groups", "T"), [(30, 5, 0.01), (23, 4, 0.1), (3, 5, 0.05)])
def test_interneg_against_the_formula(group, count, groups, T):
    labels = words(90, ("noun", "adjective"))
    chosen, _ = naive_inter_modal(labels, CLASS_TEXTS, BANK, count)
    size = len(chosen) // min(groups, len(chosen))
    order = np.random.default_rng(0).permutation(size * min(groups, len(chosen)))
    expected = []
    for row, logits in zip(FEATURES.tolist(), LOGITS.tolist(), strict=True):
        shares = []
        for start in range(0, len(order), size):
            members = labels.features[[chosen[i] for i in order[start : start + size]]].tolist()
            others = math.fsum(math.exp(dot(row, word) / T) for word in members)
            others *= CLASSES / size if group == "mean" else 1
            own = math.fsum(math.exp(s / T) for s in logits)
            shares.append(own / (own + others))
        expected.append(math.fsum(shares) / len(shares))
    params = {"count": count, "groups": groups, "T": T, "group": group}
    got = score("interneg", FEATURES, LOGITS, CLASS_TEXTS, BANK, labels=labels, **params)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("labels", "bank", "reason"),
    [
        (words(9), bank_of(LABELS[LABELS != 2]), "the shots of every class, and 1 class has none"),
        (TextList(normalise(CENTRES), list("abcde"), [""] * 5), BANK, "of 5 candidates none lies farther"),
        (words(0), BANK, "of 0 candidates none lies farther"),
    ],
)
def test_without_shots_or_survivors_there_is_no_interneg(labels, bank, reason):
    with pytest.raises(Skip, match=reason):
        score("interneg", FEATURES, LOGITS, CLASS_TEXTS, bank, labels=labels)


# --------------------------------------------------------------------------------------------------------------- DPM


def kl(p, q):
    return math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a)


def naive_pair(logits, label, bank, text, T, T_visual, left_out=None, without=None):
    """Return confidence and divergence of one sample, `without` a class, and with one shot left out of its pattern."""
    kept = [k for k in range(CLASSES) if k != without]
    mine = [logits[k] for k in kept]
    distances = []
    for c in sorted(set(bank.labels.tolist()) - {without}):
        rows = [softmax(row, T_visual) for i, row in enumerate(bank.own_logits().tolist())
                if bank.labels[i] == c and i != left_out]  # fmt: skip
        pattern = [math.fsum(row[k] for row in rows) / len(rows) for k in kept]
        distances.append(kl(softmax(mine, T_visual), [value / math.fsum(pattern) for value in pattern]))
    return (max(mine) if text == "max_logit" else max(softmax(mine, T))), min(distances)


def naive_dpm(bank, reference, text, T, T_visual, beta):
    among = reference is bank
    own, without = [], []
    for i, (logits, label) in enumerate(zip(reference.own_logits().tolist(), reference.labels.tolist(), strict=True)):
        own.append(naive_pair(logits, label, bank, text, T, T_visual, i if among else None))
        without.append(naive_pair(logits, label, bank, text, T, T_visual, None, label))
    spread = [max(values) - min(values) for values in zip(*own, strict=True)]
    scale = spread[0] / spread[1]

    def auroc(beta):
        ids, others = ([m - beta * scale * d for m, d in pairs] for pairs in (own, without))
        return math.fsum((a > b) + 0.5 * (a == b) for a in ids for b in others)

    if beta is None:
        beta = max((b / 10 for b in range(101)), key=auroc)
    pairs = [naive_pair(logits, None, bank, text, T, T_visual) for logits in LOGITS.tolist()]
    return [m - beta * scale * d for m, d in pairs], beta


@pytest.mark.parametrize("reference", [BANK, VAL], ids=["shots", "val"])
@pytest.mark.parametrize(
    ("text", "T", "T_visual", "beta"),
    [("mcm", 1 / 30, 1 / 6, None), ("max_logit", 1.0, 1.0, None), ("mcm", 1.0, 0.05, 2.5), ("mcm", 0.05, 1.0, 0.0)],
)
def test_dpm_against_the_formula(reference, text, T, T_visual, beta):
    expected, _ = naive_dpm(BANK, reference, text, T, T_visual, beta)
    params = {"text": text, "T": T, "T_visual": T_visual, "beta": beta}
    np.testing.assert_allclose(score("dpm", LOGITS, BANK, reference, **params), expected, rtol=1e-8, atol=1e-12)


def test_dpm_of_beta_0_is_its_confidence_and_test_samples_decide_nothing():
    np.testing.assert_allclose(
        score("dpm", LOGITS, BANK, VAL, beta=0.0, T=0.3), score("mcm", LOGITS, T=0.3), rtol=1e-12
    )
    whole = score("dpm", LOGITS, BANK, VAL)
    assert [score("dpm", LOGITS[i : i + 1], BANK, VAL)[0] for i in range(30)] == pytest.approx(whole, rel=1e-12)
    assert not np.allclose(whole, score("dpm", LOGITS, BANK, VAL, beta=0.0))


@pytest.mark.parametrize(
    ("bank", "reference", "reason"),
    [
        (bank_of(np.arange(CLASSES)), None, "validation samples, or 2 shots a class, and 5 classes have one"),
        (bank_of(np.zeros(4, int)), None, "there is one class"),
        (bank_of(LABELS[:6], head=Head(CLASS_TEXTS[:2], np.zeros(2))), None, "of two classes one is left"),
        (bank_of(head=None), VAL, "leaves no logits of its shots"),
        (BANK, bank_of(head=None), "leaves no logits of its shots"),
        (bank_of(head=None, logits=np.full((15, CLASSES), 0.2)), None, "all labelled samples predict alike"),
    ],
)
def test_dpm_says_what_it_lacks(bank, reference, reason):
    with pytest.raises(Skip, match=reason):
        score("dpm", LOGITS, bank, bank if reference is None else reference)


def test_a_class_without_shots_has_no_pattern_and_its_validation_samples_count():
    few = bank_of(LABELS[LABELS != 2])
    expected, _ = naive_dpm(few, VAL, "mcm", 1 / 30, 1 / 6, None)
    np.testing.assert_allclose(score("dpm", LOGITS, few, VAL), expected, rtol=1e-8)


def test_a_shot_unlike_the_others_of_its_class_is_as_far_from_them_at_any_temperature():
    """The others' chances are far below the rounding of its own."""
    logits = np.array([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.9]])
    others = log_means_of_others(logits, np.zeros(4, int), T=0.01)
    shares = [math.exp(-80), math.exp(-70), math.exp(-80)]  # of class 0, by the three others
    np.testing.assert_allclose(others[0, :2], [math.log(math.fsum(shares) / 3), math.log(2 / 3)], rtol=1e-12)
    np.testing.assert_allclose(log_means_of_others(logits[:2], np.zeros(2, int), T=0.01)[0], [-80, 0, -80], atol=1e-9)


# --------------------------------------------------------------------------------------------------------- NegRefine


def pairs_of(labels, seed=6, joined=" and "):
    count = CLASSES * len(labels.names)
    features = normalise(np.random.default_rng(seed).normal(size=(count, WIDTH)))
    names = [f"class {k}{joined}{name}" for k in range(CLASSES) for name in labels.names]
    return TextList(features, names, [""] * count)


def naive_match(row, logits, labels, pairs, chosen, top, T):
    best = 0.0
    cosines = {j: dot(row, labels.features[j].tolist()) for j in chosen}
    for k in sorted(range(CLASSES), key=lambda k: -logits[k])[:top]:
        for j in sorted(chosen, key=lambda j: -cosines[j])[:top]:
            both = dot(row, pairs.features[k * len(labels.names) + j].tolist())
            best = max(best, math.exp(both / T) / (math.exp(both / T) + math.exp(cosines[j] / T)))
    return best


@pytest.mark.parametrize(("keep", "top", "weight", "T"), [(0.5, 5, 2.0, 0.01), (1.0, 2, 4.0, 0.1), (0.1, 9, 1.0, 0.05)])
def test_negrefine_against_the_formula(keep, top, weight, T):
    labels = words(40, ("noun", "adjective"))
    pairs = pairs_of(labels)
    params = {"keep": keep, "T": T, "groups": 3, "quantile": 1.0}
    chosen = most_unlike(labels, CLASS_TEXTS, quantile=1.0, keep=keep, closest=0.95).tolist()
    share = score("csp", FEATURES, LOGITS, CLASS_TEXTS, labels=labels, **params)
    matches = [naive_match(row, logits, labels, pairs, chosen, top, T)
               for row, logits in zip(FEATURES.tolist(), LOGITS.tolist(), strict=True)]  # fmt: skip
    got = score(
        "negrefine", FEATURES, LOGITS, CLASS_TEXTS, labels=labels, pairs=pairs, top=top, weight=weight, **params
    )
    np.testing.assert_allclose(got, share + weight * np.array(matches), rtol=1e-10)


def test_negrefine_of_weight_0_is_csp_and_pairs_that_do_not_fit_are_named():
    labels, other = words(20), words(21, seed=9)
    given = FEATURES, LOGITS, CLASS_TEXTS
    of_csp = score("csp", *given, labels=labels, quantile=1.0)
    np.testing.assert_array_equal(score("negrefine", *given, labels=labels, pairs=pairs_of(labels), weight=0.0), of_csp)
    with pytest.raises(Skip, match="its pairs are 105 texts, and 5 classes with 20 labels make 100"):
        score("negrefine", *given, labels=labels, pairs=pairs_of(other))
    moved = TextList(labels.features, labels.names[::-1], labels.kinds)
    with pytest.raises(Skip, match="its pair 'class 0 and word 19' is not of the label in its place"):
        score("negrefine", *given, labels=labels, pairs=pairs_of(moved))
    own = pairs_of(labels)
    foreign = TextList(own.features, own.names, own.kinds, foreign="its list both is joined to the classes of cats")
    with pytest.raises(Skip, match="its list both is joined to the classes of cats"):  # of as many classes as here
        score("negrefine", *given, labels=labels, pairs=foreign)


def test_a_list_that_is_joined_to_the_classes_of_another_set_says_so(tmp_path):
    templates, about = ["a {}"], {"text": {"joined_to": "cats"}}
    names = ["tabby and grass", "lynx and grass"]
    path = paths.label_texts(tmp_path, "mini", "both")
    store.write_texts(path, store.Texts(np.ones((1, 2, 8), np.float32), names, templates, about))
    said, of = [], Backbone(name="mini", model="none", pretrained="none")
    for name in ("cats", "dogs"):
        dataset = IdDataset.model_validate(
            {"name": name, "imported": {}, "ood": {"far": [{"name": "x", "imported": {}}]}}
        )
        said.append(read_texts(tmp_path, of, dataset, (), ["both"]).lists["both"].foreign)
    assert said == ["", "its list both is joined to the classes of cats"]


def test_what_a_score_looks_at_is_said():
    looks_at = {name: registry.find("score", name).looks_at for name in ("mcm", "interneg", "dpm", "clipscope")}
    assert looks_at == {
        "mcm": [],
        "interneg": ["labelled shots", "texts beside the classes"],
        "dpm": ["labelled shots", "validation samples"],
        "clipscope": ["the samples of the test stream before it", "texts beside the classes"],
    }
