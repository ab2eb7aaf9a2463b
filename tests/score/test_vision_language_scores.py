"""Scores that compare an image with more texts than its classes, or its patches, against loops in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logsumexp

from oodgrid import registry
from oodgrid.errors import OodgridError
from oodgrid.score.contract import Skip, TextList, normalise
from oodgrid.score.mining import in_groups, most_unlike

RNG = np.random.default_rng(3)
WIDTH, CLASSES = 8, 6


def texts(count, seed):
    return normalise(np.random.default_rng(seed).normal(size=(count, WIDTH)))


def labels_of(count, seed=1, kinds=None):
    return TextList(texts(count, seed), [f"label {i}" for i in range(count)], kinds or [""] * count)


FEATURES = texts(30, 10)
CLASS_TEXTS = texts(CLASSES, 11)
LOGITS = FEATURES @ CLASS_TEXTS.T
LOCAL = RNG.uniform(-1, 1, size=(30, 5, CLASSES))


def score(name, *inputs, **params):
    return registry.find("score", name).make(*inputs, **params)


def softmax(values, T):
    top = max(values)
    shares = [math.exp((value - top) / T) for value in values]
    return [share / math.fsum(shares) for share in shares]


def dots(row, rows):
    return [math.fsum(a * b for a, b in zip(row, each, strict=True)) for each in np.asarray(rows).tolist()]


NEEDS = {  # of every score of a sample alone: its arrays, and parameters that fit them
    "l_mcm": ((LOCAL,), {}),
    "gl_mcm": ((LOGITS, LOCAL), {}),
    "neglabel": ((FEATURES, LOGITS), {"labels": labels_of(40), "groups": 3, "keep": 0.5, "T": 0.1}),
    "csp": ((FEATURES, LOGITS), {"labels": labels_of(40), "groups": 3, "keep": 0.5, "T": 0.1}),
    "eoe": ((FEATURES, LOGITS), {"labels": labels_of(9)}),
    "cma": ((FEATURES, LOGITS), {"agents": labels_of(4)}),
    "clipn_atd": ((FEATURES, LOGITS), {"labels": labels_of(CLASSES), "T": 0.3}),
    "clipn_ctw": ((FEATURES, LOGITS), {"labels": labels_of(CLASSES), "T": 0.3}),
    "tag": ((FEATURES,), {"T": 0.3}),
}
TEXTS = {"neglabel": CLASS_TEXTS, "csp": CLASS_TEXTS, "tag": np.stack([texts(CLASSES, seed) for seed in range(3)])}


def run(name, rows=slice(None), **changes):
    arrays, params = NEEDS[name]
    given = [array[rows] for array in arrays] + ([TEXTS[name]] if name in TEXTS else [])
    return score(name, *given, **{**params, **changes})


# -------------------------------------------------------------------------------------------------- what holds for all


@pytest.mark.parametrize("name", NEEDS)
def test_registered_with_its_needs(name):
    entry = registry.find("score", name)
    assert entry.family == "vision-language"
    assert not entry.transductive
    assert "github.com/" in entry.paper
    assert entry.label_lists == tuple({"labels", "agents"} & set(NEEDS[name][1]))
    assert entry.on_features == (name == "tag")


@pytest.mark.parametrize("name", NEEDS)
def test_samples_alone_are_samples_together_in_any_order(name):
    whole = run(name)
    assert whole.shape == (30,)
    assert whole.dtype == np.float64
    assert len(np.unique(whole)) == 30
    alone = np.concatenate([run(name, slice(i, i + 1)) for i in range(30)])
    np.testing.assert_allclose(alone, whole, rtol=1e-12)
    order = RNG.permutation(30)
    np.testing.assert_allclose(run(name, order), whole[order], rtol=1e-12)
    assert run(name, slice(0, 0)).shape == (0,)


@pytest.mark.parametrize("name", NEEDS)
def test_blocks_inside_change_nothing(name):
    rows = np.resize(np.arange(30), 1030)
    np.testing.assert_allclose(run(name, rows)[1000:], run(name)[rows[1000:]], rtol=1e-12)


@pytest.mark.parametrize("name", NEEDS)
def test_what_is_given_stays_as_it_was(name):
    arrays = [*NEEDS[name][0], *([TEXTS[name]] if name in TEXTS else [])]
    lists = [value for value in NEEDS[name][1].values() if isinstance(value, TextList)]
    before = [array.copy() for array in [*arrays, *(each.features for each in lists)]]
    for array in arrays:
        array.flags.writeable = False
    try:
        run(name)
    finally:
        for array in arrays:
            array.flags.writeable = True
    for array, was in zip([*arrays, *(each.features for each in lists)], before, strict=True):
        np.testing.assert_array_equal(array, was)


@pytest.mark.parametrize("name", NEEDS)
def test_the_order_of_classes_does_not_matter(name):
    order = RNG.permutation(CLASSES)
    arrays, params = NEEDS[name]
    given = [array[..., order] if array.shape[-1] == CLASSES else array for array in arrays]
    if name in TEXTS:
        given.append(TEXTS[name][..., order, :])
    if name.startswith("clipn"):
        params = params | {"labels": TextList(params["labels"].features[order], ["no"] * CLASSES, [""] * CLASSES)}
    np.testing.assert_allclose(score(name, *given, **params), run(name), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in NEEDS if name != "tag"])
@pytest.mark.parametrize("T", [0.0, -1.0])
def test_a_temperature_must_be_positive(name, T):
    with pytest.raises(OodgridError, match=rf"score {name}: T = .* does not fit"):
        registry.check_params("score", name, {"T": T})


# ----------------------------------------------------------------------------------------------------- l_mcm, gl_mcm


@pytest.mark.parametrize("T", [None, 1.0, 0.05])
def test_l_mcm_against_the_formula(T):
    temperature = 1.0 if T is None else T
    expected = [max(max(softmax(patch, temperature)) for patch in image) for image in LOCAL.tolist()]
    np.testing.assert_allclose(score("l_mcm", LOCAL, **({} if T is None else {"T": T})), expected, rtol=1e-12)


@pytest.mark.parametrize(("weight", "T"), [(None, None), (0.5, 1.0), (2.0, 0.1)])
def test_gl_mcm_against_the_formula(weight, T):
    params = {key: value for key, value in {"weight": weight, "T": T}.items() if value is not None}
    weight, T = params.get("weight", 1.0), params.get("T", 1.0)
    expected = [
        max(softmax(row, T)) + weight * max(max(softmax(patch, T)) for patch in image)
        for row, image in zip(LOGITS.tolist(), LOCAL.tolist(), strict=True)
    ]
    np.testing.assert_allclose(score("gl_mcm", LOGITS, LOCAL, **params), expected, rtol=1e-12)


def test_gl_mcm_with_weight_0_is_mcm():
    np.testing.assert_array_equal(score("gl_mcm", LOGITS, LOCAL, weight=0.0), score("mcm", LOGITS))


def test_one_patch_that_is_the_image_doubles_mcm():
    np.testing.assert_allclose(score("gl_mcm", LOGITS, LOGITS[:, None]), 2 * score("mcm", LOGITS), rtol=1e-14)


def test_patches_may_change_places_and_the_best_one_decides():
    order = RNG.permutation(5)
    np.testing.assert_array_equal(score("l_mcm", LOCAL[:, order]), score("l_mcm", LOCAL))
    doubled = np.concatenate([LOCAL, LOCAL], axis=1)
    np.testing.assert_array_equal(score("l_mcm", doubled), score("l_mcm", LOCAL))


def test_local_scores_of_one_class_and_of_ties():
    np.testing.assert_allclose(score("l_mcm", LOCAL[:, :, :1]), np.ones(30))
    np.testing.assert_allclose(score("gl_mcm", np.full((2, 4), 0.2), np.full((2, 3, 4), 0.1)), [0.5, 0.5])


# ------------------------------------------------------------------------------------------------------ neglabel, csp


def naive_grouped(row, logits, labels, chosen, groups, seed, T):
    """Group sums from the published recipe: drop the remainder, shuffle, cut."""
    groups = min(groups, len(chosen))
    size = len(chosen) // groups
    shuffled = [chosen[i] for i in np.random.default_rng(seed).permutation(size * groups)]
    shares = []
    for group in range(groups):
        members = shuffled[group * size : (group + 1) * size]
        together = softmax([*logits, *dots(row, labels.features[members])], T)
        shares.append(math.fsum(together[: len(logits)]))
    return math.fsum(shares) / groups


@pytest.mark.parametrize("name", ["neglabel", "csp"])
@pytest.mark.parametrize(
    ("count", "keep", "groups", "seed", "T"),
    [(40, 0.5, 3, 0, 0.1), (40, 1.0, 7, 5, 0.01), (23, 0.15, 100, 0, 1.0), (1, 1.0, 100, 0, 0.1), (40, 0.7, 1, 2, 0.1)],
)
def test_grouped_shares_against_the_formula(name, count, keep, groups, seed, T):
    labels = labels_of(count, kinds=[("noun", "adjective")[i % 3 == 0] for i in range(count)])
    if count == 1:
        labels = labels_of(1)
    chosen = most_unlike(labels, CLASS_TEXTS, quantile=0.95, keep=keep).tolist()
    expected = [
        naive_grouped(row, logits, labels, chosen, groups, seed, T)
        for row, logits in zip(FEATURES.tolist(), LOGITS.tolist(), strict=True)
    ]
    got = score(name, FEATURES, LOGITS, CLASS_TEXTS, labels=labels, keep=keep, groups=groups, seed=seed, T=T)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_published_defaults():
    defaults = {"T": 0.01, "groups": 100, "seed": 0, "quantile": 0.95, "keep": 0.15}
    assert {**registry.find("score", "neglabel").params, "labels": None} == {**defaults, "labels": None}
    assert {**registry.find("score", "csp").params, "labels": None} == {**defaults, "closest": 0.95, "labels": None}
    labels = labels_of(700)
    np.testing.assert_array_equal(
        score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=labels),
        score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=labels, **defaults),
    )


@pytest.mark.parametrize("T", [0.01, 0.1, 1.0])
def test_neglabel_in_one_group_is_a_sigmoid_of_a_difference_of_logsumexps(T):
    labels = labels_of(37)
    got = score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=labels, keep=1.0, groups=1, T=T)
    cosines = FEATURES @ labels.features.T
    expected = expit(logsumexp(LOGITS / T, axis=1) - logsumexp(cosines / T, axis=1))
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_of_labels_the_order_matters_for_the_groups_alone():
    labels, order = labels_of(40), RNG.permutation(40)
    other = TextList(labels.features[order], [labels.names[i] for i in order], [""] * 40)
    for groups in (1, 40):  # one group of all; a group for each
        params = {"keep": 1.0, "groups": groups, "T": 0.1}
        np.testing.assert_allclose(
            score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=other, **params),
            score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=labels, **params),
            rtol=1e-12,
        )
    seeds = [
        score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=labels, keep=1.0, groups=4, T=0.1, seed=seed)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(seeds[0], seeds[1])
    assert not np.allclose(seeds[0], seeds[2], rtol=1e-6)


def test_labels_given_twice_count_twice():
    labels = labels_of(12)
    twice = TextList(np.vstack([labels.features] * 2), labels.names * 2, labels.kinds * 2)
    got = score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=twice, keep=1.0, groups=1, T=0.1)
    cosines = FEATURES @ labels.features.T
    ratio = np.exp(logsumexp(cosines / 0.1, axis=1) - logsumexp(LOGITS / 0.1, axis=1))
    np.testing.assert_allclose(got, 1 / (1 + 2 * ratio), rtol=1e-10)


def test_labels_that_fill_no_group_are_left_out():
    labels = labels_of(11)
    last = most_unlike(labels, CLASS_TEXTS, quantile=0.95, keep=1.0)[-1]
    features = labels.features.copy()
    features[last] = CLASS_TEXTS[0]  # would halve class 0's share, but is the last of 11 in 5 groups
    moved = TextList(features, labels.names, labels.kinds)
    assert most_unlike(moved, CLASS_TEXTS, quantile=0.95, keep=1.0)[-1] == last
    left_out, halved = (
        [score("neglabel", CLASS_TEXTS, CLASS_TEXTS @ CLASS_TEXTS.T, CLASS_TEXTS, labels=each, **params)[0]
         for each in (labels, moved)]
        for params in ({"keep": 1.0, "groups": 5}, {"keep": 1.0, "groups": 1})
    )  # fmt: skip
    np.testing.assert_allclose(left_out[0], left_out[1], rtol=1e-12)
    np.testing.assert_allclose(halved, [1, 0.5], atol=0.05)


@pytest.mark.parametrize(("count", "keep"), [(0, 1.0), (3, 0.15), (5, 0.0)])
@pytest.mark.parametrize("name", ["neglabel", "csp"])
def test_without_a_label_there_is_no_score(name, count, keep):
    with pytest.raises(Skip, match=f"no negative text is left of {count} candidates"):
        score(name, FEATURES, LOGITS, CLASS_TEXTS, labels=labels_of(count), keep=keep)


def test_csp_excludes_what_is_nearly_a_class():
    near = normalise(CLASS_TEXTS[:2] + 0.05 * texts(2, 5))
    assert np.diag(near @ CLASS_TEXTS[:2].T).min() > 0.95
    labels = labels_of(20)
    more = TextList(np.vstack([near, labels.features]), ["a", "b", *labels.names], [""] * 22)
    params = {"keep": 1.0, "groups": 1, "T": 0.1}
    without = score("csp", FEATURES, LOGITS, CLASS_TEXTS, labels=labels, **params)
    np.testing.assert_allclose(score("csp", FEATURES, LOGITS, CLASS_TEXTS, labels=more, **params), without, rtol=1e-12)
    assert np.all(score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=more, **params) < without)
    np.testing.assert_allclose(
        score("csp", FEATURES, LOGITS, CLASS_TEXTS, labels=more, closest=1.0, **params),
        score("neglabel", FEATURES, LOGITS, CLASS_TEXTS, labels=more, **params),
        rtol=1e-12,
    )


def test_shares_have_the_right_limits_where_exponentials_overflow_and_vanish():
    """At T = 1e-4 a difference of cosines of 1 is a factor of e^10000."""
    axes = np.eye(4)
    labels = TextList(axes[1:2], ["other"], [""])
    features = np.vstack([axes[0], axes[1], normalise(axes[:1] + axes[1:2])[0]])
    got = score("neglabel", features, features @ axes[:1].T, axes[:1], labels=labels, keep=1.0, T=1e-4)
    np.testing.assert_allclose(got, [1, 0, 0.5], atol=1e-12)


def test_negative_labels_are_gathered_once_for_all_blocks():
    labels, given = labels_of(40), CLASS_TEXTS.copy()
    given.flags.writeable = False
    chosen = most_unlike(labels, given, quantile=0.95, keep=0.5)
    assert most_unlike(labels, given, quantile=0.95, keep=0.5) is chosen
    assert in_groups(labels, chosen, groups=3, seed=0) is in_groups(labels, chosen, groups=3, seed=0)
    assert not in_groups(labels, chosen, groups=3, seed=0)[0].flags.writeable


# ------------------------------------------------------------------------------------------------------------ eoe, cma


@pytest.mark.parametrize(("beta", "T"), [(None, None), (0.25, 0.05), (1.5, 0.3), (0.0, 1.0)])
def test_eoe_against_the_formula(beta, T):
    labels, params = labels_of(9), {k: v for k, v in {"beta": beta, "T": T}.items() if v is not None}
    beta, T = params.get("beta", 0.25), params.get("T", 1.0)
    expected = []
    for row, logits in zip(FEATURES.tolist(), LOGITS.tolist(), strict=True):
        shares = softmax([*logits, *dots(row, labels.features)], T)
        expected.append(max(shares[:CLASSES]) - beta * max(shares[CLASSES:]))
    np.testing.assert_allclose(score("eoe", FEATURES, LOGITS, labels=labels, **params), expected, rtol=1e-11)


@pytest.mark.parametrize("T", [1.0, 0.05])
def test_eoe_without_outliers_is_mcm(T):
    none = TextList(np.empty((0, WIDTH)), [], [])
    np.testing.assert_allclose(score("eoe", FEATURES, LOGITS, labels=none, T=T), score("mcm", LOGITS, T=T), rtol=1e-14)


def test_outliers_may_change_places():
    labels, order = labels_of(9), RNG.permutation(9)
    other = TextList(labels.features[order], labels.names, labels.kinds)
    np.testing.assert_allclose(run("eoe", labels=other), run("eoe", labels=labels), rtol=1e-13)


def test_an_outlier_that_is_the_image_lowers_it_most():
    near = TextList(FEATURES[:1], ["itself"], [""])
    far = TextList(-FEATURES[:1], ["its opposite"], [""])
    alike, unlike = (score("eoe", FEATURES[:1], LOGITS[:1], labels=each, T=0.1)[0] for each in (near, far))
    assert alike < 0 < unlike


@pytest.mark.parametrize(("agents", "ratio"), [(5, 1.0), (4, 1.0), (9, 1.0), (2, 2.5), (5, 0.1), (1, 1.0)])
@pytest.mark.parametrize("T", [1.0, 0.05])
def test_cma_against_the_formula(agents, ratio, T):
    labels, wanted = labels_of(agents), math.ceil(CLASSES * ratio)
    used = [i % agents for i in range(wanted)]
    expected = [
        max(softmax([*logits, *dots(row, labels.features[used])], T)[:CLASSES])
        for row, logits in zip(FEATURES.tolist(), LOGITS.tolist(), strict=True)
    ]
    got = score("cma", FEATURES, LOGITS, agents=labels, ratio=ratio, T=T)
    np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_cma_with_an_agent_like_every_class_is_half_of_mcm():
    agent = TextList(0.3 * FEATURES[:1], ["a thing"], [""])
    got = score("cma", FEATURES[:1], np.full((1, CLASSES), 0.3), agents=agent)
    np.testing.assert_allclose(got, 0.5 / CLASSES, rtol=1e-14)


def test_cma_needs_an_agent():
    with pytest.raises(Skip, match="the list of agents is empty"):
        score("cma", FEATURES, LOGITS, agents=labels_of(0))


# --------------------------------------------------------------------------------------------------------------- clipn


@pytest.mark.parametrize("T", [None, 0.1, 1.0])
def test_clipn_against_the_formulas(T):
    labels, params = labels_of(CLASSES), {} if T is None else {"T": T}
    T = params.get("T", 0.01)
    atd, ctw = [], []
    for row, logits in zip(FEATURES.tolist(), LOGITS.tolist(), strict=True):
        yes = [softmax(pair, T)[0] for pair in zip(logits, dots(row, labels.features), strict=True)]
        atd.append(math.fsum(p * y for p, y in zip(softmax(logits, T), yes, strict=True)))
        ctw.append(yes[logits.index(max(logits))])
    np.testing.assert_allclose(score("clipn_atd", FEATURES, LOGITS, labels=labels, **params), atd, rtol=1e-9)
    np.testing.assert_allclose(score("clipn_ctw", FEATURES, LOGITS, labels=labels, **params), ctw, rtol=1e-9)


@pytest.mark.parametrize("name", ["clipn_atd", "clipn_ctw"])
def test_clipn_with_no_texts_like_the_classes_is_undecided(name):
    same = TextList(CLASS_TEXTS, ["no"] * CLASSES, [""] * CLASSES)
    np.testing.assert_allclose(score(name, FEATURES, LOGITS, labels=same), np.full(30, 0.5), rtol=1e-9)


@pytest.mark.parametrize("name", ["clipn_atd", "clipn_ctw"])
@pytest.mark.parametrize("count", [0, 1, 5, 7])
def test_clipn_needs_a_no_for_each_class(name, count):
    with pytest.raises(Skip, match=f"each of the 6 classes, the list has {count}"):
        score(name, FEATURES, LOGITS, labels=labels_of(count))


def test_clipn_of_a_tie_takes_the_first_class():
    logits = np.array([[0.3, 0.3]])
    labels = TextList(np.array([[0.3, 0], [0.1, 0]]), ["no a", "no b"], ["", ""])
    got = score("clipn_ctw", np.array([[1.0, 0]]), logits, labels=labels, T=0.1)
    np.testing.assert_allclose(got, [0.5], rtol=1e-12)


# ----------------------------------------------------------------------------------------------------------------- tag


def naive_base(base, row, T):
    if base == "max_logit":
        return max(row)
    if base == "energy":
        top = max(row)
        return top + T * math.log(math.fsum(math.exp((value - top) / T) for value in row))
    p = softmax(row, T)
    return max(p) if base == "msp" else -math.fsum((q * (1 - q)) ** 0.1 for q in sorted(p)[-100:])


@pytest.mark.parametrize("base", ["msp", "energy", "max_logit", "gen"])
@pytest.mark.parametrize("T", [0.1, 1.0])
def test_tag_against_the_formula(base, T):
    if base == "gen":
        pytest.importorskip("oodgrid.score.scores.gen")
    variants = TEXTS["tag"]
    expected = [
        math.fsum(naive_base(base, dots(row, texts), T) for texts in variants) / len(variants)
        for row in FEATURES.tolist()
    ]
    np.testing.assert_allclose(score("tag", FEATURES, variants, base=base, T=T), expected, rtol=1e-11)


def test_tag_of_one_variant_is_the_score_under_it_and_variants_may_change_places():
    variants = TEXTS["tag"]
    np.testing.assert_array_equal(score("tag", FEATURES, variants[:1]), score("msp", FEATURES @ variants[0].T))
    np.testing.assert_allclose(score("tag", FEATURES, variants[::-1]), score("tag", FEATURES, variants), rtol=1e-14)
    with pytest.raises(OodgridError, match="score tag: base = 'entropy' does not fit"):
        registry.check_params("score", "tag", {"base": "entropy"})
