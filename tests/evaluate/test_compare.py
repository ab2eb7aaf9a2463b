"""summary.parquet and comparisons.parquet beside naive float64 arithmetic on the score tables."""

from __future__ import annotations

import numpy as np
import polars as pl
import polars.testing
import pytest
from scipy import stats

from oodgrid import manifests, paths, store
from oodgrid.config import parse
from oodgrid.evaluate import classification, spreads
from oodgrid.evaluate.rows import Pair, over_scopes
from oodgrid.evaluate.run import evaluate
from oodgrid.evaluate.summary import COMPARISONS, JUMPS, SUMMARY, UNTOLD

ID, OODS = "concepts", {"concepts-unseen-shapes": "near", "digits": "far", "noise": "far"}
SIZES = {ID: 40, "concepts-unseen-shapes": 30, "digits": 25, "noise": 35}
SHIFT = {ID: 1.5, "concepts-unseen-shapes": 0.8, "digits": 0.0, "noise": -0.5}
SCORES = ["mcm", "msp"]
SCOPES = {"near": [0], "far": [1, 2], "overall": [0, 1, 2]}


def table_of(method, shots, seeds):
    """A table of scores: what all methods see in a sample, and noise of the method and of the fit."""
    frames, fits = [], []
    for count in shots:
        for seed in seeds if count else [0]:
            parts = {name: f"{method}-{name}-{count}-{seed}" for name in SIZES}
            fits.append({"shots": count, "seed": seed, "status": "ok", "reason": None, "parts": parts})
            for name, size in SIZES.items():
                number = list(SIZES).index(name)
                common = np.random.default_rng(number).normal(SHIFT[name], 1, size)
                rng = np.random.default_rng([len(method), count, seed, number])
                noise = rng.normal(0, 0.4, (len(SCORES), size)) + rng.normal(0, 0.1, (len(SCORES), 1))
                columns = {"label": np.arange(size) % 5 - 1, "prediction": rng.integers(0, 4, size)}
                columns |= dict(zip(SCORES, np.round(common + noise, 1), strict=True))
                keys = {"dataset": name, "shots": count, "seed": seed}
                frames.append(pl.DataFrame(columns).with_columns(pl.lit(v).alias(k) for k, v in keys.items()))
    return pl.concat(frames), {"fits": fits, "params": {name: {"T": 1.0} for name in SCORES}}


METHODS = {"zero_shot": [0], "coop": [1, 4], "tip_adapter": [1, 4], "prototype": [1, 4]}


def write_study(results, experiment_of, seeds, methods=METHODS, far=("digits", "noise")):
    ood = {"near": ["concepts-unseen-shapes"], "far": list(far)}
    dataset = {"name": ID, "ood": ood}
    experiment = parse(
        experiment_of(id_datasets=[dataset], methods=list(methods), scores=SCORES, shots=[1, 4], seeds=seeds)
    )
    for method, shots in methods.items():
        store.write_table(paths.scores(results, "mini", "tiny", ID, method), *table_of(method, shots, seeds))
    return experiment


@pytest.fixture(scope="module")
def study(tmp_path_factory, experiment_of):
    results = tmp_path_factory.mktemp("study")
    experiment = write_study(results, experiment_of, [1, 2, 3])
    evaluate(results, experiment)
    return results, experiment


def read(results, path):
    return store.read_table(path(results, "mini"))[0]


def scores_of(results, method, shots, seed, name):
    table, _ = store.read_table(paths.scores(results, "mini", "tiny", ID, method))
    own = table.filter(dataset=ID, shots=shots, seed=seed)[name].to_numpy()
    return own, [table.filter(dataset=ood, shots=shots, seed=seed)[name].to_numpy() for ood in OODS]


def placements(results, row, sets):
    """Naive: AUROC of every seed, and placements averaged over seeds: of ID samples over sets, of OOD samples."""
    method, shots, name = row
    areas, of_id, of_ood = [], [], []
    for seed in [1, 2, 3] if shots else [0]:
        own, oods = scores_of(results, method, shots, seed, name)
        wins = [(own[:, None] > oods[j]) + 0.5 * (own[:, None] == oods[j]) for j in sets]
        areas.append(np.mean([each.mean() for each in wins]))
        of_id.append(np.mean([each.mean(axis=1) for each in wins], axis=0))
        of_ood.append([each.mean(axis=0) for each in wins])
    return np.array(areas), np.mean(of_id, axis=0), [np.mean(each, axis=0) for each in zip(*of_ood, strict=True)]


def variance(of_id, of_ood):
    parts = [np.var(each, ddof=1) / len(each) for each in of_ood]
    return np.var(of_id, ddof=1) / len(of_id) + sum(parts) / len(parts) ** 2


def test_columns_are_those_that_are_documented(study):
    results, _ = study
    means, differences = read(results, paths.summary), read(results, paths.comparisons)
    assert (means.schema, differences.schema) == (pl.Schema(SUMMARY), pl.Schema(COMPARISONS))
    assert manifests.read(paths.comparisons(results, "mini"), manifests.Comparisons).ranks == []
    key = ["method", "shots", "score", "scope", "ood_dataset", "metric"]
    assert means.select(key).is_unique().all()
    assert differences.select(*key, "against").is_unique().all()
    assert means.filter(pl.col("lo") > pl.col("mean")).is_empty()
    assert means.filter(pl.col("hi") < pl.col("mean")).is_empty()
    assert set(means.filter(scope="set")["ood_dataset"]) == set(OODS)
    assert means.filter(pl.col("metric").is_in(["aupr_in", "aupr_out"]))["scope"].unique().to_list() == ["set"]


@pytest.mark.parametrize("scope", SCOPES)
def test_means_have_both_variances(study, scope):
    results, _ = study
    shown = read(results, paths.summary).filter(scope=scope, metric="auroc")
    assert len(shown) == 14
    for row in shown.iter_rows(named=True):
        areas, *values = placements(results, (row["method"], row["shots"], row["score"]), SCOPES[scope])
        of_samples, seeds = variance(*values), len(areas)
        of_fits = np.var(areas, ddof=1) / seeds if seeds > 1 else 0
        assert row["mean"] == pytest.approx(areas.mean(), abs=1e-12)
        assert row["se_samples"] == pytest.approx(of_samples**0.5, rel=1e-5)
        assert row["se"] == pytest.approx((of_samples + of_fits) ** 0.5, rel=1e-5)
        assert (row["seeds"], row["fits"]) == ((3, "seeds") if row["shots"] else (1, "none"))
        if seeds == 1:
            assert (row["seed_sd"], row["df"], row["se_fits"]) == (None, None, 0)
            continue
        assert row["seed_sd"] == pytest.approx(np.std(areas, ddof=1))
        df = (of_samples + of_fits) ** 2 / (of_fits**2 / (seeds - 1))
        assert row["df"] == pytest.approx(df, rel=1e-4)
        middle = stats.logistic.ppf(row["mean"])
        half = stats.t(df).ppf(0.975) * row["se"] / (row["mean"] * (1 - row["mean"]))
        few = 40 * min(row["mean"], 1 - row["mean"]) < 3
        expected = stats.logistic.cdf([middle - half, middle + half])
        if not few:
            assert [row["lo"], row["hi"]] == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("against", ["zero_shot_mcm", "zero_shot", "best", "best_of_score", "best_of_method"])
def test_differences_are_paired_by_sample_and_by_seed(study, scope, against):
    results, _ = study
    found = read(results, paths.comparisons).filter(scope=scope, metric="auroc", against=against)
    means = {
        (row["method"], row["shots"], row["score"]): row["mean"]
        for row in read(results, paths.summary).filter(scope=scope, metric="auroc").iter_rows(named=True)
    }
    assert len(found) == (14 if against.startswith("zero_shot") else 8)
    groups: dict = {}
    for row in found.iter_rows(named=True):
        key, other = ((row[f"{p}method"], row[f"{p}shots"], row[f"{p}score"]) for p in ("", "reference_"))
        family = {
            "zero_shot_mcm": lambda k: k == ("zero_shot", 0, "mcm"),
            "zero_shot": lambda k, key=key: k == ("zero_shot", 0, key[2]),
            "best": lambda k: k[1] in (0, 4),
            "best_of_score": lambda k, key=key: k[1] in (0, 4) and k[2] == key[2],
            "best_of_method": lambda k, key=key: k[1] in (0, 4) and k[0] == key[0],
        }[against]
        rows = {k: v for k, v in means.items() if family(k)}
        assert other == max(rows, key=rows.get)
        assert row["rows"] == (len(found) if against.startswith("zero_shot") else len(rows))
        a, b = placements(results, key, SCOPES[scope]), placements(results, other, SCOPES[scope])
        assert row["diff"] == pytest.approx(a[0].mean() - b[0].mean(), abs=1e-12)
        d = [a[1] - b[1], [x - y for x, y in zip(a[2], b[2], strict=True)]]
        groups.setdefault(against, []).append((row, a[0] - b[0], variance(*d), key == other))
    for rows in groups.values():
        squares = [np.var(d, ddof=1) for _, d, _, same in rows if len(d) > 1 and not same]
        pool = np.exp(np.mean(np.log(squares)) + np.euler_gamma)  # -digamma(1) + log(1), of three seeds
        for row, d, of_samples, same in rows:
            of_fits = 0 if same or len(d) == 1 else (4 * pool + 2 * np.var(d, ddof=1)) / 6 / 3
            if same:
                assert (row["se"], row["p"], row["p_corrected"], row["fits"]) == (0, 1, 1, "none")
                continue
            assert row["se"] == pytest.approx((of_samples + of_fits) ** 0.5, rel=1e-5)
            df = (of_samples + of_fits) ** 2 / (of_fits**2 / 6) if of_fits else np.inf
            t = row["diff"] / row["se"]
            assert row["p"] == pytest.approx(2 * stats.t(min(df, 1e9)).sf(abs(t)), rel=1e-3)
            if against.startswith("best"):
                tail = stats.t(min(df, 1e9)).sf(-t)
                assert row["p_corrected"] == pytest.approx(1 - (1 - tail) ** (row["rows"] - 1), rel=1e-3)
                assert row["in_best_set"] == (row["p_corrected"] >= 0.05) != row["distinguishable"]


def test_rates_that_jump_have_means_and_differences_without_p(study):
    results, _ = study  # of 25 to 40 samples a side
    means, differences = read(results, paths.summary), read(results, paths.comparisons)
    jumps = pl.col("metric").is_in(["fpr95_id_pos", "fpr95_ood_pos"])
    empty, others = differences.filter(jumps), differences.filter(~jumps)
    assert len(empty) == len(others.filter(metric="auroc")) * 2
    assert not empty.select(UNTOLD).null_count().transpose().to_series().ne(len(empty)).any()
    assert empty["reason"].unique().to_list() == [JUMPS]
    assert empty["diff"].null_count() == 0
    assert empty.filter("is_best").height
    assert others["reason"].null_count() == len(others)
    assert others["p"].null_count() == 0
    assert means.filter(jumps)["lo"].null_count() == 0  # the draw of the threshold holds


def test_id_accuracy_is_compared_on_the_same_samples(study):
    results, _ = study
    row = read(results, paths.comparisons).filter(
        metric="id_accuracy", against="zero_shot", method="coop", shots=4
    ).row(0, named=True)  # fmt: skip
    right = {}
    for method, shots, seeds in (("coop", 4, [1, 2, 3]), ("zero_shot", 0, [0])):
        table, _ = store.read_table(paths.scores(results, "mini", "tiny", ID, method))
        own = [table.filter(pl.col("label") >= 0, dataset=ID, shots=shots, seed=seed) for seed in seeds]
        right[method] = np.array([(each["label"] == each["prediction"]).to_numpy() for each in own], float)
    d = right["coop"].mean(axis=0) - right["zero_shot"][0]
    assert row["diff"] == pytest.approx(d.mean(), abs=1e-12)
    assert row["se"] >= np.sqrt(np.var(d, ddof=1) / len(d))
    assert (row["scope"], row["score"]) == ("id", None)


def test_rows_of_one_seed_have_intervals_too(tmp_path, experiment_of):
    experiment = write_study(tmp_path, experiment_of, [1])
    evaluate(tmp_path, experiment)
    means = read(tmp_path, paths.summary).filter(metric="auroc", scope="near")
    assert means["lo"].null_count() == means["se_samples"].null_count() == 0
    assert means.filter(pl.col("shots") > 0)["fits"].unique().to_list() == ["unknown"]
    assert means.filter(pl.col("shots") > 0)["se_fits"].null_count() == 12


def test_memory_changes_no_number(study, tmp_path, experiment_of, monkeypatch):
    """One row at a time, and no vector kept in memory."""
    results, _ = study
    monkeypatch.setattr(spreads, "MEMORY", 1)
    again = write_study(tmp_path, experiment_of, [1, 2, 3])
    evaluate(tmp_path, again)
    for path in (paths.summary, paths.comparisons):
        assert path(tmp_path, "mini").read_bytes() == path(results, "mini").read_bytes()


def test_what_no_ood_set_changes_is_measured_once_a_fit(tmp_path, experiment_of, monkeypatch):
    calls, measure = [], classification.of_id
    monkeypatch.setattr(classification, "of_id", lambda *about: calls.append(about[0]) or measure(*about))
    methods = {"zero_shot": [0], "prototype": [4]}
    evaluate(tmp_path, write_study(tmp_path, experiment_of, [1, 2], methods))
    assert len(calls) == len(SCORES) * 3  # fits; not once for each of three OOD sets
    for row in read(tmp_path, paths.metrics).filter(status="ok").iter_rows(named=True):
        table, _ = store.read_table(paths.scores(tmp_path, "mini", "tiny", ID, row["method"]))
        own = table.filter(dataset=ID, shots=row["shots"], seed=row["seed"])
        expected = measure(row["base_score"], *(own[name].to_numpy() for name in (row["score"], "label", "prediction")))
        assert {name: row[name] for name in expected} == expected  # to the bit


def test_no_score_is_read_again_where_all_is_kept(study, monkeypatch):
    results, experiment = study
    monkeypatch.setattr(spreads, "_compute", None)
    before = paths.comparisons(results, "mini").read_bytes()
    evaluate(results, experiment)
    assert paths.comparisons(results, "mini").read_bytes() == before


def test_the_order_of_ood_sets_changes_no_number(tmp_path, experiment_of):
    """Variances that are kept from a run with another order are those of the same sets."""
    tables = []
    for far in (["digits", "noise"], ["noise", "digits"]):
        evaluate(tmp_path, write_study(tmp_path, experiment_of, [1], {"zero_shot": [0]}, far))
        tables.append([read(tmp_path, path) for path in (paths.summary, paths.comparisons)])
    for before, after in zip(*tables, strict=True):
        keys = [name for name, kind in before.schema.items() if not kind.is_float()]
        before, after = (each.sort(keys) for each in (before, after))
        pl.testing.assert_frame_equal(before, after, rel_tol=1e-12)


def test_no_mean_holds_covariate_shift_an_overlap_or_fewer_sets_than_all():
    kinds = {"a": "near", "b": "near", "c": "far", "d": "far", "e": "covariate"}
    rows = [("coop", 4, seed, "mcm", ood, kind, "ok", 0, 0.1 * seed + 0.01 * k)
            for seed in (1, 2) for k, (ood, kind) in enumerate(kinds.items()) if (seed, ood) != (2, "a")]  # fmt: skip
    names = ["method", "shots", "seed", "score", "ood_dataset", "ood_kind", "status", "order", "auroc"]
    pair = Pair(pl.DataFrame(rows, names, orient="row"), frozenset(), frozenset({"d"}))
    means = {scope.name: pair.fits("auroc", scope)[0, :, 0] for scope in pair.scopes("auroc") if scope.name != "set"}
    assert means["near"] == pytest.approx([0.105, np.nan], nan_ok=True)
    assert means["overall"] == pytest.approx([0.11, np.nan], nan_ok=True)
    assert means["far"] == pytest.approx([0.12, 0.22])
    assert means["covariate"] == pytest.approx([0.14, 0.24])


@pytest.mark.parametrize("seed", range(8))
def test_other_tables_are_averaged_over_scopes_by_the_rule_of_pairs(seed):
    """Kinds, overlaps and what is missing are drawn; only the first score is sure to have every set."""
    rng = np.random.default_rng(seed)
    kinds = dict(zip("abcdef", rng.choice(["near", "far", "covariate"], 6), strict=True))
    keys = [("coop", 4, s, score, ood, kind, "ok", 0)
            for score in ("mcm", "msp", "energy") for s in (1, 2, 3) for ood, kind in kinds.items()
            if score == "mcm" or rng.random() > 0.15]  # fmt: skip
    names = ["method", "shots", "seed", "score", "ood_dataset", "ood_kind", "status", "order"]
    frame = pl.DataFrame(keys, names, orient="row").with_columns(auroc=pl.Series(rng.random(len(keys))))
    overlapping = rng.choice(list(kinds), 2).tolist()
    pair = Pair(frame, frozenset(), frozenset(overlapping))
    whole = frame.with_columns(backbone=pl.lit("tiny"), id_dataset=pl.lit("pets"))
    means = over_scopes(whole, [("pets", ood) for ood in overlapping], ["backbone", "id_dataset", "score"], ["auroc"])
    expected = {}
    for scope in pair.scopes("auroc"):
        for row, fits in zip(pair.rows, pair.fits("auroc", scope)[:, :, 0], strict=True):
            if scope.name != "set" and len(there := fits[np.isfinite(fits)]):
                sd = np.std(there, ddof=1) if len(there) > 1 else None
                expected[row.score, scope.name] = (len(scope.sets), len(there), there.mean(), sd)
    found = {row[:2]: row[2:] for row in means.select("score", "scope", "sets", "seeds", "auroc", "auroc_sd").rows()}
    assert found.keys() == expected.keys()
    for key, (sets, seeds, mean, sd) in expected.items():
        assert found[key][:2] == (sets, seeds)
        assert found[key][2:] == (pytest.approx(mean), sd if sd is None else pytest.approx(sd)), key


def test_what_looks_at_no_shots_varies_with_no_draw_where_no_method_learned():
    """Else it is given the variance of other rows' fits, and 100 % the interval [0, 100]."""
    names = ["method", "shots", "score", "base_score", "params"]
    rows = [("any", 4, "knn@bank=train", "knn", '{"bank": "train"}'), ("any", 4, "knn", "knn", '{"bank": "shots"}'),
            ("any", 4, "pair_cosine", "pair_cosine", "{}"), ("any", 4, "tag", "tag", "{}"),
            ("coop", 4, "pair_cosine", "pair_cosine", "{}"), ("zero_shot", 0, "mcm", "mcm", "{}"),
            ("coop", 4, "adaneg", "adaneg", '{"order": 0}')]  # fmt: skip
    pair = Pair(pl.DataFrame(rows, names, orient="row"), frozenset({"adaneg"}), frozenset())
    assert [pair.drawn(row) for row in pair.rows] == [
        (False, False), (True, False), (False, False), (False, False), (True, False), (False, False), (True, True),
    ]  # fmt: skip


def test_of_streams_a_metric_of_the_id_samples_is_a_mean_over_ood_sets():
    rows = [("coop", 1, seed, score, ood, "near", "ok", value + 0.01 * seed)
            for seed in (1, 2) for score, values in (("mcm", (0.2, 0.2)), ("adaneg", (0.1, 0.4)))
            for ood, value in zip("ab", values, strict=True)]  # fmt: skip
    names = ["method", "shots", "seed", "score", "ood_dataset", "ood_kind", "status", "aurc"]
    frame = pl.DataFrame(rows, names, orient="row").with_columns(order=pl.lit(0))
    pair = Pair(frame, frozenset({"adaneg"}), frozenset())
    (scope,) = pair.scopes("aurc")
    assert pair.fits("aurc", scope)[:, :, 0] == pytest.approx(np.array([[0.21, 0.22], [0.26, 0.27]]))


def test_ties_between_the_best_are_said(tmp_path, experiment_of):
    """Two scores of equal values: both are the best, the first is what others are compared with."""
    experiment = write_study(tmp_path, experiment_of, [1, 2], {"zero_shot": [0]})
    path = paths.scores(tmp_path, "mini", "tiny", ID, "zero_shot")
    table, about = store.read_table(path)
    store.write_table(path, table.with_columns(msp=pl.col("mcm")), about)
    evaluate(tmp_path, experiment)
    found = read(tmp_path, paths.comparisons).filter(metric="auroc", scope="overall", against="best")
    assert found["tied_best"].to_list() == [True, True]
    assert found["is_best"].to_list() == [True, False]
    assert found["in_best_set"].to_list() == [True, True]
    assert found["se"].to_list() == [0, 0]
