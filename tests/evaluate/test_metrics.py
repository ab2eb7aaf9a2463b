from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from oodgrid import metrics as library
from oodgrid.errors import OodgridError
from oodgrid.evaluate import metrics
from oodgrid.evaluate.intervals import all_metrics, fprs_at
from oodgrid.measures import MEASURES, asked_recall, exact_recall, fpr_names, recall_in

KEYS = ["n_id", "n_ood", "auroc", "fpr95_id_pos", "fpr95_id_pos_mcm", "fpr95_ood_pos", "aupr_in", "aupr_out",
        "aupr_in_balanced", "aupr_out_balanced", "tied"]  # fmt: skip
FEW_LEVELS = st.integers(-4, 4).map(lambda i: i / 4)
ANY_FLOAT = st.floats(-1e300, 1e300, allow_nan=False)
# 19 and 20, 10 and 30: sizes around which .95 n is an integer, or half-way between two
SIDE = st.one_of(
    st.lists(FEW_LEVELS, min_size=1, max_size=45),
    st.lists(ANY_FLOAT, min_size=1, max_size=25),
    st.lists(st.integers(0, 60).map(float), min_size=10, max_size=10),
    st.lists(st.integers(0, 60).map(float), min_size=30, max_size=30),
)


def naive_auroc(id_scores, ood_scores):
    return np.mean([(i > o) + 0.5 * (i == o) for i in id_scores for o in ood_scores])


def naive_fpr95_id_pos(id_scores, ood_scores):
    n = len(id_scores)
    recalls = {t: sum(s >= t for s in id_scores) for t in set(id_scores)}
    _, _, threshold = min((abs(20 * c - 19 * n), -c, t) for t, c in recalls.items())
    return sum(s >= threshold for s in ood_scores) / len(ood_scores)


def naive_fpr95_id_pos_mcm(id_scores, ood_scores):
    """Thresholds are the scores of both sets from the lowest ID score up; of equally near recalls the lowest one."""
    recalls = {t: sum(s >= t for s in id_scores) / len(id_scores) for t in {*id_scores, *ood_scores}}
    _, threshold = min((abs(recall - 0.95), t) for t, recall in recalls.items() if t >= min(id_scores))
    return sum(s >= threshold for s in ood_scores) / len(ood_scores)


def naive_fpr95_ood_pos(id_scores, ood_scores):
    for threshold in sorted(set(ood_scores)):
        if 20 * sum(s <= threshold for s in ood_scores) >= 19 * len(ood_scores):
            return sum(s <= threshold for s in id_scores) / len(id_scores)
    raise AssertionError("the highest OOD score catches every OOD sample")


def sklearn_reference(id_scores, ood_scores):
    scores = np.concatenate([id_scores, ood_scores]).astype(np.float64)
    is_id = np.r_[np.ones(len(id_scores)), np.zeros(len(ood_scores))]
    weights = np.where(is_id == 1, 1 / len(id_scores), 1 / len(ood_scores))
    return {
        "auroc": roc_auc_score(is_id, scores),
        "aupr_in": average_precision_score(is_id, scores),
        "aupr_out": average_precision_score(1 - is_id, -scores),
        "aupr_in_balanced": average_precision_score(is_id, scores, sample_weight=weights),
        "aupr_out_balanced": average_precision_score(1 - is_id, -scores, sample_weight=weights),
    }


def seeded(rounded):
    rng = np.random.RandomState(0)
    id_scores, ood_scores = rng.normal(1, 1, 1000), rng.normal(0, 1, 500)
    return (id_scores.round(), ood_scores.round()) if rounded else (id_scores, ood_scores)


VECTORS = {
    "pytorch-ood": (
        -np.arange(30.0),
        -np.arange(10.5, 30.0),
        {"auroc": 0.683333, "fpr95_ood_pos": 0.60, "fpr95_id_pos": 0.90, "aupr_in": 0.814053, "aupr_out": 0.561992},
    ),
    "oodeel": (
        -np.array([0, 0.2, 0.2, 0.2, 0.2]),
        -np.array([0.2, 0.2, 1, 1, 1]),
        {"auroc": 0.84, "fpr95_id_pos": 0.4, "fpr95_ood_pos": 0.8, "aupr_in": 0.771429, "aupr_out": 0.822222},
    ),
    "ood-metrics": (
        np.array([0.9]),
        np.array([0.1, 0.3, 0.6, 1.3]),
        {"auroc": 0.75, "aupr_in": 0.5, "aupr_out": 0.95, "fpr95_id_pos": 0.25, "fpr95_ood_pos": 1.0},
    ),
    "torch-uncertainty": (
        -np.array([0.8, 0.6, 0.4, 0.1]),
        -np.array([0.9, 0.7, 0.2]),
        {"auroc": 0.666667, "fpr95_ood_pos": 0.75, "fpr95_id_pos": 0.666667},
    ),
    "normal": (
        *seeded(rounded=False),
        {"auroc": 0.749406, "aupr_in": 0.848312, "aupr_out": 0.597069, "fpr95_id_pos": 0.760, "fpr95_ood_pos": 0.755},
    ),
    "normal, rounded to integers": (
        *seeded(rounded=True),
        {"auroc": 0.725917, "aupr_in": 0.804149, "aupr_out": 0.525298, "fpr95_id_pos": 0.706, "fpr95_ood_pos": 0.938},
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_other_libraries(name):
    id_scores, ood_scores, expected = VECTORS[name]
    got = metrics.detection_metrics(id_scores, ood_scores)
    assert {key: got[key] for key in expected} == pytest.approx(expected, abs=5.1e-7)


def test_keys_and_sizes():
    got = metrics.detection_metrics([1.0, 2.0, 3.0], [0.0, 1.0])
    assert list(got) == KEYS
    assert (got["n_id"], got["n_ood"]) == (3, 2)


@given(SIDE, SIDE)
@settings(max_examples=200, deadline=None)
def test_matches_naive_definitions_and_sklearn(id_scores, ood_scores):
    got = metrics.detection_metrics(id_scores, ood_scores)
    expected = sklearn_reference(id_scores, ood_scores) | {
        "n_id": len(id_scores),
        "n_ood": len(ood_scores),
        "fpr95_id_pos": naive_fpr95_id_pos(id_scores, ood_scores),
        "fpr95_id_pos_mcm": naive_fpr95_id_pos_mcm(id_scores, ood_scores),
        "fpr95_ood_pos": naive_fpr95_ood_pos(id_scores, ood_scores),
        "tied": np.mean(np.equal.outer(id_scores, ood_scores)),
    }
    assert got == pytest.approx(expected, abs=1e-12)
    assert got["auroc"] == pytest.approx(naive_auroc(id_scores, ood_scores), abs=1e-12)


@given(SIDE, SIDE)
@settings(max_examples=100, deadline=None)
def test_swapping_and_negating_swaps_what_is_positive(id_scores, ood_scores):
    got = metrics.detection_metrics(id_scores, ood_scores)
    swapped = metrics.detection_metrics(-np.array(ood_scores), -np.array(id_scores))
    assert swapped["auroc"] == got["auroc"]
    assert swapped["aupr_in"] == pytest.approx(got["aupr_out"], abs=1e-12)
    assert swapped["aupr_out"] == pytest.approx(got["aupr_in"], abs=1e-12)


def test_the_two_fprs_are_duals_where_nearest_and_first_agree():
    """With 100 distinct OOD scores a recall of exactly .95 exists, so swapping turns one convention into the other."""
    rng = np.random.default_rng(1)
    id_scores, ood_scores = rng.normal(1, 1, 100), rng.normal(0, 1, 100)
    got = metrics.detection_metrics(id_scores, ood_scores)
    swapped = metrics.detection_metrics(-ood_scores, -id_scores)
    assert swapped["fpr95_id_pos"] == got["fpr95_ood_pos"]
    assert swapped["fpr95_ood_pos"] == got["fpr95_id_pos"]
    assert got["fpr95_id_pos"] != got["fpr95_ood_pos"]


@given(SIDE, SIDE)
@settings(max_examples=100, deadline=None)
def test_only_the_order_of_scores_matters(id_scores, ood_scores):
    levels = np.unique(np.concatenate([id_scores, ood_scores]))
    ranks = [np.searchsorted(levels, side) for side in (id_scores, ood_scores)]
    stretched = [np.exp(rank / 3.0) - 7 for rank in ranks]
    shuffled = [np.random.default_rng(0).permutation(side) for side in (id_scores, ood_scores)]
    expected = metrics.detection_metrics(id_scores, ood_scores)
    assert metrics.detection_metrics(*ranks) == expected
    assert metrics.detection_metrics(*stretched) == expected
    assert metrics.detection_metrics(*shuffled) == expected


def test_recall_ties_take_the_higher_recall():
    """With 10 distinct ID scores, recalls .9 and 1.0 are equally near to .95 (in floats .9 would look nearer)."""
    id_scores = np.arange(10.0)
    assert metrics.fpr95_id_pos(metrics.count_scores(id_scores, [0.5])) == 1.0
    assert metrics.fpr95_id_pos(metrics.count_scores(id_scores, [-0.5])) == 0.0


def test_id_threshold_is_an_id_score():
    """At 20 of 20 and 19 of 20 ID scores the OOD sample between the two is below the threshold."""
    id_scores = np.arange(20.0)
    assert metrics.fpr95_id_pos(metrics.count_scores(id_scores, [0.5, 1.0, 1.5])) == pytest.approx(2 / 3)


# what `fpr_and_fdr_at_recall` of github.com/deeplearning-wisc/MCM gave for these, beside what our rule gives
@pytest.mark.parametrize(
    ("id_scores", "ood_scores", "theirs", "ours"),
    [
        (np.arange(20.0), [-1.0, 0.5, 0.5, 1.5], 0.75, 0.25),  # .95 at 1, and down to the OOD samples at .5
        (np.arange(10.0), [0.5, -0.5], 0.5, 1 / 2),  # of recalls .9 and 1 floats take .9, which reaches down to .5
        (np.arange(10.0), [0.0, 0.0, 5.0], 1 / 3, 1.0),
        (np.zeros(5), [-1.0, 0.0], 0.5, 0.5),  # never below the lowest ID score
        ([1.0], [1.0], 1.0, 1.0),
        ([1.0], [0.0], 0.0, 0.0),
        (np.zeros(30), np.zeros(10), 1.0, 1.0),
    ],
)
def test_the_rule_of_the_mcm_code_counts_ood_down_to_the_next_id_score(id_scores, ood_scores, theirs, ours):
    counts = metrics.count_scores(id_scores, ood_scores)
    assert (metrics.fpr95_id_pos_mcm(counts), metrics.fpr95_id_pos(counts)) == (theirs, ours)


def test_how_far_the_two_rules_are_apart():
    """The figures of docs/conventions.md: the gap shrinks with the number of ID scores, and is large on few."""
    rng, widest = np.random.default_rng(0), {}
    for n in (20, 100, 1000):
        pairs = [(rng.normal(2, 1, n), rng.normal(0, 1, n)) for _ in range(500)]
        counts = [metrics.count_scores(*pair) for pair in pairs]
        gaps = np.array([metrics.fpr95_id_pos_mcm(c) - metrics.fpr95_id_pos(c) for c in counts])
        assert gaps.min() >= 0
        widest[n] = gaps.max()
    assert widest[20] > 0.5 > widest[100] > 0.1 > widest[1000] > 0.01


def test_average_precision_is_no_trapezoid():
    """OpenOOD joins the points of the curve by lines: apart by (1 - share of positives) / 2 where all scores tie."""
    is_id = np.r_[np.ones(30), np.zeros(10)]
    precision, recall, _ = precision_recall_curve(is_id, np.zeros(40))
    assert metrics.detection_metrics(np.zeros(30), np.zeros(10))["aupr_in"] == 0.75
    assert auc(recall, precision) == pytest.approx(0.75 + 0.25 / 2)


@pytest.mark.parametrize("n", [20, 40, 60, 140, 1000, 4000])
def test_recall_of_exactly_95_percent_is_found(n):
    """0.95 * n is not exact in floats; the count c with 20 c = 19 n must be taken, on both sides."""
    scores = np.arange(float(n))
    counts = metrics.count_scores(scores, scores)
    assert metrics.fpr95_id_pos(counts) == 0.95
    assert metrics.fpr95_ood_pos(counts) == 0.95


@pytest.mark.parametrize(("id_score", "auroc", "fpr"), [(2.0, 1.0, 0.0), (1.0, 0.5, 1.0), (0.0, 0.0, 1.0)])
def test_one_sample_on_each_side(id_score, auroc, fpr):
    got = metrics.detection_metrics([id_score], [1.0])
    precision = 1.0 if auroc == 1 else 0.5
    assert list(got.values()) == [1, 1, auroc, fpr, fpr, fpr, *[precision] * 4, id_score == 1]


def test_all_scores_tied():
    got = metrics.detection_metrics(np.zeros(30), np.zeros(10))
    assert list(got.values()) == [30, 10, 0.5, 1.0, 1.0, 1.0, 0.75, 0.25, 0.5, 0.5, 1.0]


def test_negative_zero_ties_with_zero():
    assert metrics.auroc(metrics.count_scores([0.0], [-0.0])) == 0.5


def test_counts_are_sorted_and_complete():
    counts = metrics.count_scores([3, 1, 3], [1, 2, 2, 9])
    assert counts.values.tolist() == [1, 2, 3, 9]
    assert counts.id_counts.tolist() == [1, 0, 2, 0]
    assert counts.ood_counts.tolist() == [1, 2, 0, 1]
    assert counts.id_up_to.tolist() == [1, 1, 3, 3]
    assert counts.ood_from.tolist() == [4, 3, 1, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.uint8])
def test_number_types_are_taken_as_they_are(dtype):
    rng = np.random.default_rng(2)
    id_scores, ood_scores = rng.integers(0, 50, 300).astype(dtype), rng.integers(0, 40, 100).astype(dtype)
    got = metrics.detection_metrics(id_scores, ood_scores)
    assert got == metrics.detection_metrics(id_scores.astype(np.float64), ood_scores.astype(np.float64))


def test_float32_scores_keep_their_own_ties():
    rng = np.random.default_rng(3)
    id_scores, ood_scores = rng.normal(1, 1, 500).astype(np.float32), rng.normal(0, 1, 200).astype(np.float32)
    got = metrics.detection_metrics(id_scores, ood_scores)
    assert got["auroc"] == pytest.approx(sklearn_reference(id_scores, ood_scores)["auroc"], abs=1e-12)


def test_huge_and_tiny_scores_do_not_overflow():
    rng = np.random.default_rng(4)
    id_scores, ood_scores = rng.normal(1, 1, 100), rng.normal(0, 1, 100)
    expected = metrics.detection_metrics(id_scores, ood_scores)
    assert metrics.detection_metrics(1e300 * id_scores, 1e300 * ood_scores) == expected
    assert metrics.detection_metrics(1e-300 * id_scores, 1e-300 * ood_scores) == expected


def test_mcm_scores_of_a_thousand_classes_keep_their_order():
    """MCM at T=1 over 1000 classes spans .00105 to .00127; half precision would keep about 200 values."""
    rng = np.random.default_rng(5)
    id_scores = 0.00105 + 0.00022 * rng.beta(4, 3, 5000)
    ood_scores = 0.00105 + 0.00022 * rng.beta(3, 4, 2000)
    got = metrics.detection_metrics(id_scores, ood_scores)
    assert got == metrics.detection_metrics(np.log(id_scores), np.log(ood_scores))
    assert got["auroc"] == pytest.approx(sklearn_reference(id_scores, ood_scores)["auroc"], abs=1e-12)
    coarse = metrics.detection_metrics(id_scores.astype(np.float16), ood_scores.astype(np.float16))
    assert coarse["fpr95_id_pos"] != got["fpr95_id_pos"]


def test_scores_far_above_one_do_not_saturate():
    """15 scores from 97.6 to 99.96 with one negative: a float32 sigmoid would tie them all at AUROC .5."""
    ood_first = np.linspace(97.6, 99.96, 15)
    got = metrics.detection_metrics(np.delete(ood_first, 1), ood_first[[1]])
    assert got["auroc"] == pytest.approx(0.928571, abs=5e-7)


def test_large_sets_do_not_overflow_integers():
    n = 2_000_000
    counts = metrics.Counts(np.array([0.0, 1.0]), np.array([n, 3 * n]), np.array([3 * n, n]))
    assert metrics.auroc(counts) == pytest.approx(0.75)
    assert metrics.aupr_in(counts) == pytest.approx(0.75 * 0.75 + 0.25 * 0.5)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], r"ID scores: shape \(0,\) holds nothing"),
        ([[1.0, 2.0]], r"ID scores: shape \(1, 2\)"),
        (np.float64(1.0), r"ID scores: shape \(\)"),
        ([1.0, np.nan, np.inf, np.nan], "ID scores: 3 of 4 numbers are NaN or infinite, the first at index 1"),
        (["a", "b"], "ID scores: type"),
        ([True, False], "ID scores: type bool"),
        ([1j], "ID scores: type complex128"),
        (np.array([1.0, None]), "ID scores: type object"),
    ],
)
def test_bad_scores_are_refused_by_side(scores, message):
    with pytest.raises(OodgridError, match=message) as error:
        metrics.detection_metrics(scores, [1.0])
    assert "\n" not in str(error.value)
    with pytest.raises(OodgridError, match=message.replace("ID", "OOD")):
        metrics.detection_metrics([1.0], scores)


def test_inputs_are_left_alone():
    id_scores, ood_scores = np.array([3.0, 1.0, 2.0]), np.array([2.0, 0.0])
    metrics.detection_metrics(id_scores, ood_scores)
    assert id_scores.tolist() == [3, 1, 2]
    assert ood_scores.tolist() == [2, 0]


def naive_fprs(id_scores, ood_scores, parts, of):
    """Both rates at a recall of parts / of, in whole numbers."""
    id_scores, ood_scores = list(id_scores), list(ood_scores)
    n, m = len(id_scores), len(ood_scores)
    recalls = {t: sum(s >= t for s in id_scores) for t in set(id_scores)}
    _, _, kept = min((abs(of * c - parts * n), -c, t) for t, c in recalls.items())
    caught = min(t for t in {*id_scores, *ood_scores} if of * sum(s <= t for s in ood_scores) >= parts * m)
    return sum(s >= kept for s in ood_scores) / m, sum(s <= caught for s in id_scores) / n


@pytest.mark.parametrize("parts", [1, 50, 500, 800, 900, 950, 990, 995, 999, 1000])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 3), (20, 40), (205, 231)])
def test_fprs_at_any_recall(parts, n, m):
    rng = np.random.default_rng([parts, n])
    for decimals in (0, 1, 9):
        id_scores, ood_scores = (rng.normal(size=size).round(decimals) + shift for size, shift in ((n, 1), (m, 0)))
        row = all_metrics(id_scores, ood_scores, recalls=[parts / 1000])
        names = fpr_names(Fraction(parts, 1000))
        assert tuple(row[name] for name in names) == naive_fprs(id_scores, ood_scores, parts, 1000)
        for name in names:
            assert 0 <= row[f"{name}_lo"] <= row[name] <= row[f"{name}_hi"] <= 1
        if parts == 950:
            assert row == all_metrics(id_scores, ood_scores)
        else:
            assert list(row)[-6:] == [f"{name}{end}" for name in names for end in ("", "_lo", "_hi")]


@pytest.mark.parametrize(
    ("recall", "n", "m"),
    [pytest.param(r, n, m, marks=[pytest.mark.slow] * (r != 0.9)) for r in (0.5, 0.8, 0.9, 0.99) for n, m in
     ((50, 300), (400, 150))],
)  # fmt: skip
def test_intervals_at_other_recalls_cover(recall, n, m):
    """Of normal scores, whose rates are known: 2,000 draws in the long test, 300 in the short one."""
    draws = 300 if recall == 0.9 else 2000
    truth = stats.norm.sf(stats.norm.isf(recall) + 1.5), stats.norm.cdf(stats.norm.ppf(recall) - 1.5)
    inside = np.zeros(2)
    for seed in range(draws):
        rng = np.random.default_rng([seed, n])
        counts = metrics.count_scores(rng.normal(1.5, 1, n), rng.normal(0, 1, m))
        rates = fprs_at(exact_recall(recall), counts, repeats=300)
        names = fpr_names(exact_recall(recall))
        inside += [rates[f"{k}_lo"] <= t <= rates[f"{k}_hi"] for k, t in zip(names, truth, strict=True)]
    assert (inside / draws > 0.91).all(), inside / draws


@pytest.mark.parametrize("recall", [0, -0.5, 1.01, 90, float("nan"), 1 / 3, 1e-7, True, "0.9", None])
def test_what_is_no_recall_is_refused(recall):
    with pytest.raises(OodgridError, match=r"^recall: .* where a fraction such as 0.95 is needed"):
        all_metrics([1.0], [0.0], recalls=[recall])
    with pytest.raises(OodgridError, match=r"^recall: "):
        library.fpr_id_pos([1.0], [0.0], recall=recall)


@pytest.mark.parametrize(("metric", "columns"), [("fpr@90", "fpr90"), ("fpr@99.5", "fpr99_5"), ("fpr@100", "fpr100"),
                                                 ("fpr@90.0", "fpr90"), ("fpr@0.0001", "fpr0_0001")])  # fmt: skip
def test_a_recall_has_one_name(metric, columns):
    recall = asked_recall(metric)
    assert fpr_names(recall) == (f"{columns}_id_pos", f"{columns}_ood_pos")
    assert [recall_in(name) for name in fpr_names(recall)] == [recall] * 2
    assert MEASURES[f"{columns}_id_pos"].better == "lower"
    assert recall_in(f"{columns}_id_pos_lo") is recall_in("auroc") is None
    assert f"{100 * float(recall):g} %" in MEASURES[f"{columns}_ood_pos"].definition
    with pytest.raises(KeyError):
        MEASURES["fpr_id_pos"]
