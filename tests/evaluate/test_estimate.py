"""Evaluation without OOD labels: against naive formulas, what must not change them, and what is refused."""

from __future__ import annotations

import json
from math import log, sqrt
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from oodgrid import estimates, manifests, paths, plan, store
from oodgrid.cli import main
from oodgrid.config import parse
from oodgrid.evaluate.estimate import bench, clusters, indicators, own, predictions, regression, table, wording
from oodgrid.evaluate.metrics import count_scores, detection_metrics
from oodgrid.evaluate.run import evaluate
from tests.failing import failure

ROOT = Path(__file__).parents[2]
RANKED = ("auroc_pool", "flagged", "own_share")


def drawn(seed, n=40, m=60, share=0.5, ties=True):
    """Validation, ID and OOD scores, with ties where asked."""
    rng = np.random.default_rng(seed)
    n_ood = round(share * m)
    sides = rng.normal(size=n), rng.normal(size=m - n_ood), rng.normal(-1.5, 1.3, size=n_ood)
    return [side.round(1) if ties else side for side in sides]


# -------------------------------------------------------------------------------- against formulas written naively


def naive(validation, pool):
    """AUROC, flagged share and OOD share by loops over all pairs and all thresholds."""
    area = np.mean([[(v > x) + (v == x) / 2 for x in pool] for v in validation])
    recalls = {t: np.mean([v >= t for v in validation]) for t in sorted(set(validation))}
    threshold = min(recalls, key=lambda t: (round(abs(recalls[t] - 0.95), 12), t))
    noise = sqrt(log(40) / (2 * len(pool))) + sqrt(log(40) / (2 * len(validation)))
    every = [t for t in sorted({*validation, *pool}) if max(validation) >= t]
    ratio = {t: np.mean([x >= t for x in pool]) / np.mean([v >= t for v in validation]) for t in every}
    bound = {t: ratio[t] + 1.01 * noise / np.mean([v >= t for v in validation]) for t in every}
    best = min(every, key=lambda t: (round(bound[t], 12), t))
    flagged = [x for x in pool if x < threshold]
    pseudo = np.mean([[(v > x) + (v == x) / 2 for x in flagged] for v in validation]) if flagged else 0.5
    return {
        "auroc_pool": area,
        "flagged": len(flagged) / len(pool),
        "own_share": 1 - min(ratio[best], 1),
        "pseudo": pseudo,
        "kept": (np.mean([x >= threshold for x in pool]), recalls[threshold]),
    }


@pytest.mark.parametrize("seed", range(12))
def test_indicators_and_unmixed_rates_are_what_loops_say(seed):
    validation, of_id, ood = drawn(seed, share=[0.05, 0.3, 0.8][seed % 3])
    whole = np.concatenate([of_id, ood])
    pool = indicators.pool_of(validation, whole)
    expected, found = naive(validation, whole), indicators.indicators(pool)
    for name in RANKED:
        assert found[name] == pytest.approx(expected[name], abs=1e-12), name
    assert predictions.pseudo_labelled(pool.counts)["auroc"] == pytest.approx(expected["pseudo"], abs=1e-12)
    share = 0.4
    rates = predictions.unmixed(pool.counts, share)
    kept, recall = expected["kept"]
    assert rates["auroc"] == pytest.approx(np.clip(0.5 + (expected["auroc_pool"] - 0.5) / share, 0, 1))
    assert rates["fpr95_id_pos"] == pytest.approx(np.clip((kept - (1 - share) * recall) / share, 0, 1))


@pytest.mark.parametrize("seed", range(6))
def test_a_pool_whose_id_samples_are_the_validation_samples_gives_the_true_rates(seed):
    validation, _, ood = drawn(seed, n=200, m=300, share=0.5, ties=seed % 2)
    pool = np.concatenate([validation, ood])
    truth = detection_metrics(validation, ood)
    rates = predictions.unmixed(count_scores(validation, pool), len(ood) / len(pool))
    assert rates == pytest.approx({name: truth[name] for name in predictions.RATES}, abs=1e-9)


def test_two_clusters_are_those_of_plain_expectation_maximisation():
    for seed in range(3):
        _, of_id, ood = drawn(seed, m=120, ties=False)
        points = np.concatenate([of_id, ood])
        points = np.sort((points - points.mean()) / points.std())
        splits = {k: points[:k].var() * k + points[k:].var() * (len(points) - k) for k in range(1, len(points))}
        member = np.arange(len(points)) < min(splits, key=splits.get)
        part = np.stack([member, ~member]).astype(float)
        likelihood = -np.inf
        for _ in range(clusters.ROUNDS):
            weight = part.sum(axis=1) / len(points)
            mean = [np.average(points, weights=p) for p in part]
            deviation = [np.sqrt(np.average((points - m) ** 2, weights=p)) for m, p in zip(mean, part, strict=True)]
            density = np.stack([w / s * np.exp(-((points - m) ** 2) / (2 * s * s))
                                for w, m, s in zip(weight, mean, deviation, strict=True)])  # fmt: skip
            part, before, likelihood = density / density.sum(axis=0), likelihood, np.mean(np.log(density.sum(axis=0)))
            if likelihood - before < clusters.STILL:
                break
        found = clusters.two_clusters(points)
        assert found.means == pytest.approx(mean)
        assert found.deviations == pytest.approx(deviation)
        assert found.share == pytest.approx(weight[0])
        assert found.separation == pytest.approx((mean[1] - mean[0]) / np.hypot(*deviation))


def test_two_clusters_far_apart_are_found_with_their_rates():
    rng = np.random.default_rng(0)
    of_id, ood = rng.normal(5, 1, size=3000), rng.normal(0, 1.5, size=1000)
    found, truth = clusters.two_clusters(np.concatenate([of_id, ood])), detection_metrics(of_id, ood)
    assert found.share == pytest.approx(0.25, abs=0.02)
    for name, rate in found.rates().items():
        assert rate == pytest.approx(truth[name], abs=0.03), name


# ------------------------------------------------------------------------------------------------- what must not matter

TRANSFORMS = {
    "of another scale": lambda x: 1e-6 * x + 3,
    "huge": lambda x: 1e200 * x,
    "tiny": lambda x: 1e-200 * x,
    "exponential": np.exp,
    "cubed": lambda x: x**3 + x,
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_monotone_map_of_all_scores_changes_no_rank_indicator_and_an_affine_one_none_at_all(name):
    validation, of_id, ood = drawn(7)
    whole = np.concatenate([of_id, ood])
    before = indicators.pool_of(validation, whole)
    after = indicators.pool_of(TRANSFORMS[name](validation), TRANSFORMS[name](whole))
    ranks = {name: value for name, value in indicators.indicators(before).items() if name in RANKED}
    mapped = indicators.indicators(after)
    assert {name: mapped[name] for name in RANKED} == ranks
    assert predictions.unmixed(after.counts, 0.4) == predictions.unmixed(before.counts, 0.4)
    assert predictions.pseudo_labelled(after.counts) == predictions.pseudo_labelled(before.counts)
    if name in ("of another scale", "huge", "tiny"):
        assert mapped == pytest.approx(indicators.indicators(before), rel=1e-6)


def test_scores_that_differ_little_beside_their_size_differ_all_the_same():
    rng = np.random.default_rng(3)
    validation, pool = rng.normal(size=200), np.r_[rng.normal(size=150), rng.normal(-5, 1, size=150)]
    before, after = (indicators.pool_of(validation + far, pool + far) for far in (0, 1e13))
    assert after.clusters.share == pytest.approx(before.clusters.share, abs=0.01)
    assert indicators.indicators(after) == pytest.approx(indicators.indicators(before), abs=0.02)
    noise = 1 + np.finfo(float).eps * (np.arange(50) % 4)
    assert clusters.two_clusters(noise).deviations == (0, 0)
    assert indicators.wasserstein(noise[:9], noise[9:]) == 0


def test_the_order_of_samples_changes_nothing():
    validation, of_id, ood = drawn(8)
    whole, rng = np.concatenate([of_id, ood]), np.random.default_rng(0)
    assert indicators.indicators(indicators.pool_of(validation, whole)) == pytest.approx(
        indicators.indicators(indicators.pool_of(rng.permutation(validation), rng.permutation(whole))), rel=1e-12
    )


# ------------------------------------------------------------------------------------------- where nothing can be said


@pytest.mark.parametrize(
    "case",
    ["all ID", "few OOD", "equal", "equal pool", "too few", "one", "other sign", "more OOD than given", "few given"],
)
def test_where_nothing_can_be_said_that_is_said(case):
    rng = np.random.default_rng(1)
    of_id, far = rng.normal(size=5000), rng.normal(-6, 1, size=1000)
    validation, pool, words = {
        "all ID": (of_id[:400], of_id[400:1000], "holds no OOD samples"),
        "few OOD": (of_id[:2500], np.r_[of_id[2500:], far[:190]], "below 10 % nothing"),
        "equal": (np.ones(50), of_id[:50], "all scores of validation are equal"),
        "equal pool": (of_id[:50], np.ones(50), "all scores of the pool are equal"),
        "too few": (of_id[:12], np.r_[of_id[12:24], far[:12] + 5], "by chance alone"),
        "one": (of_id[:1], far[:30], "two or more"),
        "other sign": (-of_id[:400], np.r_[-of_id[400:1000], -far], "is the sign right"),
        "more OOD than given": (of_id[:400], far, "20 % of OOD samples cannot be: by this score"),
        "few given": (
            of_id[:2500],
            np.r_[of_id[2500:], far[:125]],
            "5 % of the pool are OOD samples as given, and below",
        ),
    }[case]
    share = {"more OOD than given": 0.2, "few given": 0.05}.get(case)
    (row,) = own.estimate({"s": validation}, {"s": pool}, BENCH, share)
    assert row["status"] == "nothing"
    assert words in row["reason"]
    assert [row[name] for name in predictions.RATES] == [None] * 3


@pytest.mark.parametrize("pool", [[0.0, 1.0], [1.0, 2.0, 3.0, 1e308] * 5 + [-1e308], [*range(99), 1e308]])
def test_too_few_samples_for_two_clusters_are_said(pool):
    (row,) = own.without_validation({"s": np.array(pool)}, BENCH)
    assert (row["status"], row["auroc"]) == ("nothing", None)
    assert "at least 5 and 20 are needed" in row["reason"]


def test_the_share_is_no_less_than_one_score_shows_beyond_chance():
    rng = np.random.default_rng(0)
    validation = {name: rng.normal(size=1000) for name in ("blind 1", "blind 2", "blind 3", "blind 4", "good")}
    pool = {name: np.r_[rng.normal(size=1000), rng.normal(-4 if name == "good" else -0.5, 1, 1000)]
            for name in validation}  # fmt: skip
    rows = own.estimate(validation, pool, BENCH)
    assert {round(row["ood_share"], 6) for row in rows} == {round(rows[0]["ood_share"], 6)}
    assert 0.4 < rows[0]["ood_share"] < 0.5
    assert np.quantile([row["own_share"] for row in rows], 0.8) < 0.35
    never = [indicators.least_share(count_scores(rng.normal(size=300), rng.normal(size=300)), 40) for _ in range(40)]
    assert max(never) == 0


def test_a_share_that_is_given_takes_no_regression_and_pools_of_other_lengths_are_refused():
    rng = np.random.default_rng(5)
    scores, pool = rng.normal(size=400), np.r_[rng.normal(size=300), rng.normal(-3, 1, size=300)]
    (given,), (free,) = (own.estimate({"s": scores}, {"s": pool}, BENCH, share) for share in (0.5, None))
    assert free["regression_auroc"] is not None
    assert [given[f"regression_{rate}"] for rate in predictions.RATES] == [None] * 3
    for sides, words in [
        (({"a": scores, "b": scores}, {"a": pool, "b": pool[:9]}), "the pool has 9 scores of 'b' and 600 of 'a'"),
        (({"a": scores, "b": scores[1:]}, {"a": pool, "b": pool}), "validation has 399 scores of 'b' and 400 of 'a'"),
    ]:
        assert words in failure(estimates.estimate_all, *sides)
    for share in ("0.5", [0.5], None, True, 1j, np.nan):
        assert "is a number that lies between 0 and 1" in failure(estimates.unmixed, scores, pool, share)
    assert "is a number that lies between 0 and 1" in failure(estimates.estimate, scores, pool, "0.5")


def test_numbers_that_are_none_are_refused_by_the_name_of_the_side():
    good = np.arange(5.0)
    for validation, pool, words in [
        ([1, np.nan], good, "validation scores: 1 of 2 numbers is NaN"),
        (good, [np.inf, 1], "pool scores: 1 of 2 numbers is NaN or infinite"),
        (good, [], "pool scores: shape (0,) holds nothing"),
        ([[1.0]], good, "validation scores: shape (1, 1)"),
        (["a"], good, "validation scores: type"),
    ]:
        assert words in failure(lambda: estimates.indicators(validation, pool))  # noqa: B023 - called at once


# --------------------------------------------------------------------------------------------------------- the bench


@pytest.mark.parametrize("pairs", [1, 3, 4, 40])
def test_a_bench_has_two_hundred_sets_or_more_and_no_sample_twice(pairs):
    rng = np.random.default_rng(pairs)
    oods = [bench.Labelled(f"ood-{i}", rng.integers(-1, 9, size=300)) for i in range(3)]
    count = bench.sets_of_each(pairs)
    planned = bench.plan(500, oods, count)
    again = bench.plan(500, oods, count)
    assert bench.plan(500, [], count) == []
    assert len(planned) * pairs >= 200
    assert {each.made for each in planned} == set(bench.WAYS)
    for each, same in zip(planned, again, strict=True):
        share, n_ood = bench.SHARES[each.number % len(bench.SHARES)], sum(map(len, each.ood_rows.values()))
        assert abs(n_ood / (n_ood + len(each.id_rows)) - share) < 0.02
        of_id = np.concatenate([each.validation, each.id_rows])
        assert len(np.unique(of_id)) == len(of_id)
        assert all(len(np.unique(rows)) == len(rows) for rows in each.ood_rows.values())
        assert all(np.array_equal(rows, same.ood_rows[name]) for name, rows in each.ood_rows.items())
        assert np.array_equal(each.validation, same.validation)


def frame_of(pairs, seed=0):
    """Rows of a bench with one indicator, of two backbones and of OOD sets of which one is an ID set elsewhere."""
    rng = np.random.default_rng(seed)
    names = ("a", "b", "c", "a + b", "id0")
    rows = [(f"b{b}", f"id{p}", name, x, 0.5 + 0.3 * x + rng.normal(scale=0.05))
            for b in range(2) for p in range(pairs) for name in names for x in rng.uniform(0, 1, size=6)]  # fmt: skip
    return pl.DataFrame(rows, ["backbone", "id_dataset", "ood_datasets", "x", "y"], orient="row")


@pytest.mark.parametrize("pairs", [1, 3])
def test_a_set_is_predicted_by_the_line_through_sets_that_share_nothing_with_it(pairs):
    frame = frame_of(pairs)
    found = regression.left_out(frame, ["x"], "y")
    for row, value in zip(frame.iter_rows(named=True), found, strict=True):
        own_sets = {*row["ood_datasets"].split(" + "), row["id_dataset"] if pairs > 1 else ""}
        seen = [other for other in frame.iter_rows(named=True)
                if not own_sets & set(other["ood_datasets"].split(" + "))
                and (pairs == 1 or other["id_dataset"] not in own_sets)]  # fmt: skip
        line = np.polyfit([other["x"] for other in seen], [other["y"] for other in seen], 1)
        assert value == pytest.approx(np.clip(np.polyval(line, row["x"]), 0, 1), abs=1e-4)
    alone = frame_of(1).filter(ood_datasets="a")
    assert np.isnan(regression.left_out(alone, ["x"], "y")).all()


def test_rows_are_kept_by_the_names_of_their_sets(monkeypatch):
    found = []

    def get(identity, *_):
        found.append(identity)
        raise LookupError

    for name in ("cars", "vans", "cars"):
        fit = SimpleNamespace(parts={"pets": "0", name: "1"})
        pets, scores = SimpleNamespace(name="pets"), {"mcm": "mcm"}
        of_pets = SimpleNamespace(
            id_dataset=pets, oods=lambda name=name: [("far", name)], code="", scores=scores, names={"method": "any"}
        )
        monkeypatch.setattr(table, "_shown", lambda _, fit=fit: fit)
        with pytest.raises(LookupError):
            table._of_pair([of_pets], 42, SimpleNamespace(get=get))
    assert found[0] == found[2] != found[1]


# ------------------------------------------------------------------------------------------------ evaluate and report

SETS = ("concepts", "concepts-unseen-shapes", "noise")


def world(results, experiment_of, **keys):
    """Results with tables of two methods and three scores, and their experiment."""
    experiment = parse(experiment_of(methods=["zero_shot", "prototype"], scores=["mcm", "energy"], shots=[2], **keys))
    for number, method in enumerate(("zero_shot", "prototype")):
        rng = np.random.default_rng(number)
        shots, seeds = (0, [0]) if method == "zero_shot" else (2, experiment.seeds)
        frames, fits = [], []
        for seed in seeds:
            fits.append({"shots": shots, "seed": seed, "status": "ok", "reason": "", "skipped": {},
                         "parts": {name: f"{name}-{method}-{seed}" for name in SETS}})  # fmt: skip
            for place, name in enumerate(SETS):
                lower = {s: rng.normal(-place * (1 + i), size=150).round(2) for i, s in enumerate(("mcm", "energy"))}
                keys_of = {"dataset": name, "shots": shots, "seed": seed}
                columns = {"label": np.arange(150) % 5, "prediction": np.zeros(150, np.int64), **lower}
                frames.append(pl.DataFrame(columns).with_columns(pl.lit(v).alias(k) for k, v in keys_of.items()))
        about = {"fits": fits, "params": {"mcm": {"T": 1.0}, "energy": {"T": 0.01}}}
        store.write_table(paths.scores(results, "mini", "tiny", "concepts", method), pl.concat(frames), about)
    return experiment


@pytest.fixture(scope="module")
def tried(tmp_path_factory, experiment_of):
    """Results of an experiment that asks for estimates."""
    results = tmp_path_factory.mktemp("tried")
    experiment = world(results, experiment_of, estimate=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "sets_of_each", lambda pairs: 42)
        return results, evaluate(results, experiment)


def test_estimates_are_written_where_the_config_asks_and_add_up(tried, tmp_path, experiment_of):
    results, written = tried
    frame, about = manifests.read_table(paths.estimates(results, "mini"), manifests.Estimates)
    assert written[-1] == paths.estimates(results, "mini")
    assert dict(frame.schema) == dict(pl.Schema(table.ESTIMATES))
    assert (about.sets, about.detectors) == (frame["number"].n_unique(), 4)
    assert about.sets == 42
    assert frame.select("method", "shots", "seed").unique().sort("method").rows() == [
        ("prototype", 2, 1), ("zero_shot", 0, 0)
    ]  # fmt: skip
    off = (frame["unmixed_auroc"] - frame["true_auroc"]).to_numpy()
    whole = next(e for e in about.errors if (e.rate, e.estimator, e.by) == ("auroc", "unmixed", "all"))
    assert (whole.rows, whole.bias) == (len(frame), pytest.approx(off.mean(), abs=1e-6))
    assert whole.rmse == pytest.approx(np.sqrt(np.mean(off**2)), abs=1e-6)
    assert whole.within95 == pytest.approx(np.quantile(np.abs(off), 0.95), abs=1e-6)
    assert max(e.rank_scores for e in about.errors if e.by == "share" and e.estimator == "unmixed") > 0.5
    every = [e for e in about.errors if (e.rate, e.estimator, e.by) == ("auroc", "unmixed", "share")]
    assert sum(e.rows for e in every) == len(frame)
    half, tenth = (next(e.rmse for e in every if e.low == share) for share in (0.5, 0.05))
    assert half < tenth
    plain = world(tmp_path, experiment_of)
    without = evaluate(tmp_path, plain)
    asked = parse(experiment_of(estimate=True))
    assert set(plan.evaluated(asked)) - set(plan.evaluated(plain)) == {paths.estimates}
    assert {file.stem for file in plan.figure_files(tmp_path, asked)} - {
        file.stem for file in plan.figure_files(tmp_path, plain)
    } == {"estimate", "estimate-column"}
    assert not paths.estimates(tmp_path, "mini").exists()
    assert len(without) == len(written) - 1


# ------------------------------------------------------------------------------------------------------ the command

BENCH = manifests.Estimates(
    sets=9,
    sizes={"validation": [100, 200, 300], "pool": [200, 300, 400]},
    errors=[
        manifests.EstimateError(
            rate=rate,
            estimator=estimator,
            by="estimated",
            low=low,
            high=high,
            rows=1,
            sets=1,
            bias=0.0,
            mae=0.0,
            rmse=0.0,
            within95=bar,
        )
        for rate in predictions.RATES
        for estimator in ("alone", "unmixed", "regression", "regression_alone")
        for low, high, bar in ((0.1, 0.4, 0.2), (0.4, 1.0, 0.1))
    ],
    lines=[
        manifests.EstimateLine(estimator=name, rate="auroc", weights={"intercept": 0.1, "auroc_pool": 1.0})
        for name in ("regression", "regression_alone")
    ],
)


def test_an_estimate_comes_with_the_error_of_the_bench_at_its_share():
    rng = np.random.default_rng(2)
    validation, of_id, ood = rng.normal(size=3000), rng.normal(size=3000), rng.normal(-3, 1, size=3000)
    pool = np.concatenate([of_id, ood])
    (row,) = own.estimate({"s": validation}, {"s": pool}, BENCH)
    truth = detection_metrics(of_id, ood)
    assert row["ood_share"] == pytest.approx(0.5, abs=0.05)
    for rate in ("auroc", "fpr95_id_pos"):
        assert row[rate] == pytest.approx(truth[rate], abs=0.05)
        assert row[f"{rate}_lo"] == max(row[rate] - 0.1, 0)
        assert row[f"{rate}_hi"] == min(row[rate] + 0.1, 1)
    assert row["regression_auroc"] == pytest.approx(0.1 + row["auroc_pool"])
    few = np.concatenate([of_id, ood[:1000]])
    worse = {"s": pool, "bad": np.concatenate([of_id, of_id[:1000] - 0.5])}
    rows = own.estimate(dict.fromkeys(worse, validation), {"s": few, "bad": worse["bad"]}, BENCH)
    assert {each["ood_share"] for each in rows} == {rows[0]["ood_share"]}
    assert rows[0]["auroc"] - rows[0]["auroc_lo"] == pytest.approx(0.2)
    assert [each["score"] for each in rows] == ["s", "bad"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Score files of one pool in every form, and of its validation."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    validation, pool = rng.normal(size=400), np.r_[rng.normal(size=400), rng.normal(-2.5, 1, size=400)]
    np.save("two.npy", pool.reshape(2, -1))
    Path("folder.npy").mkdir()
    Path("hole.csv").write_text("ü\n1\nnan\n")
    pl.DataFrame({"ü": ["a"]}).write_parquet("words.parquet")
    for name, scores in (("val", validation), ("pool", pool)):
        np.save(f"{name}.npy", scores)
        frame = pl.DataFrame({"mcm": scores, "ü knn": scores**3})
        frame.write_csv(f"{name}.csv")
        frame.write_parquet(f"{name}.parquet")
    return tmp_path


def test_every_kind_of_file_gives_the_same_estimate(files, capsys):
    found = []
    for options in (
        ["pool.npy", "--validation", "val.npy"],
        ["pool.csv", "--validation", "val.csv", "--score", "mcm"],
        ["pool.parquet", "--validation", "val.npy", "--score", "mcm"],
        ["pool.csv", "--validation", "val.csv", "--score", "mcm", "ü knn"],
    ):
        assert main(["estimate", *options, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    same = [{**rows[0], "score": "", "share_from": ""} for rows in found]
    assert same[0] == same[1] == same[2]
    assert [row["score"] for row in found[3]] == ["mcm", "ü knn"]
    assert found[3][0]["auroc"] == found[3][1]["auroc"] == found[0][0]["auroc"]
    assert main(["estimate", "pool.npy", "--validation", "val.npy"]) == 0
    out = capsys.readouterr().out
    assert "% of the pool are OOD samples (estimated from this score)" in out
    assert main(["estimate", "pool.npy"]) == 0
    assert "nothing tells whether the pool holds OOD samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["pool.csv", "--validation", "val.csv"], "choose one with --score"),
        (["pool.npy", "--validation", "nowhere.npy"], "nowhere.npy: no such file"),
        (["pool.npy", "--validation", "val.npy", "--share", "1.5"], "lies between 0 and 1"),
        (["pool.npy", "--validation", "val.npy", "--share", "nan"], "lies between 0 and 1"),
        (["pool.npy", "--share", "0.5"], "--validation FILE"),
        (["pool.csv", "--validation", "val.csv", "--score", "mcm", "mcm"], "named twice"),
        (["pool.csv", "--validation", "val.csv", "--score", "mcn"], "mcn"),
        (["two.npy", "--validation", "val.npy"], "two.npy: has shape (2, 400); give one number per sample"),
        (["words.parquet", "--validation", "val.npy"], "column 'ü' has type String; scores must be numbers"),
        (["pool.npy", "--validation", "hole.csv"], "hole.csv: 1 of 2 scores is missing, NaN or infinite"),
        (["folder.npy", "--validation", "val.npy"], "folder.npy: is a folder, not a file"),
        (["pool.npy", "--validation", "val.npy", "--no-header"], "are for .csv files"),
    ],
)
def test_what_cannot_be_estimated_is_one_line(files, capsys, options, words):
    assert main(["estimate", *options]) == 1
    error = capsys.readouterr().err.strip()
    assert words in error
    assert len(error.splitlines()) == 1


def test_the_errors_that_the_package_brings_are_those_of_the_committed_bench():
    committed = manifests.read(ROOT / "results/clip-b32-estimate/estimates.parquet", manifests.Estimates)
    assert own.read_bench() == own.needed(committed)
    assert committed.sets >= 200


def changed(**fields):
    """The fields of a bench, changed."""
    return BENCH.model_dump() | fields


def line_of(weights):
    return changed(lines=[{"estimator": "regression", "rate": "auroc", "weights": weights}])


BENCHES = {
    "nowhere.parquet": (None, "no such file"),
    "folder.parquet": (Path.mkdir, "is a folder"),
    "text.parquet": (lambda path: path.write_text("ü"), "has no seal"),
    "empty.json": (lambda path: path.write_text(""), "has no seal"),
    "cut.parquet": (lambda path: path.write_bytes(A_TABLE.read_bytes()[:5000]), "has no seal"),
    "strangers.parquet": (lambda path: pl.DataFrame({"a": [1.0]}).write_parquet(path), "has no seal"),
    "metrics.parquet": (
        lambda path: path.write_bytes(A_TABLE.with_name("metrics.parquet").read_bytes()),
        "is no table of estimates: it lacks sets",
    ),
    "none.json": (changed(sets=0), "holds no set"),
    "without errors.json": (changed(errors=[]), "holds no set"),
    "negative.json": (changed(errors=[BENCH.errors[0].model_dump() | {"within95": -0.1}]), "errors.0.within95"),
    "nan.json": (changed(errors=[BENCH.errors[0].model_dump() | {"within95": np.nan}]), "errors.0.within95"),
    "sizes.json": (changed(sizes={"pool": []}), "sizes.pool"),
    "nan line.json": (line_of({"intercept": np.nan}), "lines.0.weights.intercept"),
    "other line.json": (line_of({"intercept": 0.1}), "its line 'regression' is of other indicators"),
}
A_TABLE = ROOT / "results/clip-b32-estimate/estimates.parquet"


@pytest.mark.parametrize("name", BENCHES)
def test_what_is_no_bench_is_one_line_that_says_what_is_one_and_tells_to_delete_nothing(files, capsys, name):
    make, words = BENCHES[name]
    if callable(make):
        make(files / name)
    elif make:
        store.write_json(files / name, {"version": manifests.VERSION, **make})
    assert main(["estimate", "pool.npy", "--validation", "val.npy", "--bench", name]) == 1
    [line] = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert line.startswith(f"oodgrid: error: {name}")
    assert "elete" not in line
    assert "holds no set" in line or line.endswith(own.A_BENCH)


def test_a_pool_that_reaches_above_validation_is_said():
    rng = np.random.default_rng(6)
    scores, pool = rng.normal(size=400), np.r_[rng.normal(size=300), rng.normal(-3, 1, size=300)]
    (sound,), (scaled,) = (own.estimate({"s": scores}, {"s": scale * pool}, BENCH) for scale in (1, 100))
    assert sound["above_validation"] == 0
    assert 0.1 < scaled["above_validation"] < np.mean(100 * pool > scores.max())
    assert not any("higher than validation does" in line for line in wording.remarks([sound], BENCH))
    assert any("higher than validation does" in line for line in wording.remarks([scaled], BENCH))


KINDS = {  # of OOD scores beside ID scores that are standard normal: seen well, badly, and in part not at all
    "apart": lambda rng, n: rng.normal(-3, 1, n),
    "near": lambda rng, n: rng.normal(-0.7, 1, n),
    "wide": lambda rng, n: rng.normal(-1.5, 2, n),
    "heavy": lambda rng, n: rng.standard_t(2, n) - 2,
    "half hidden": lambda rng, n: np.where(rng.random(n) < 0.5, rng.normal(size=n), rng.normal(-3, 1, n)),
}


def test_the_sure_auroc_holds_whatever_the_ood_samples_are():
    rng, held, said, wide = np.random.default_rng(0), 0, 0, []
    for kind, ood_of in KINDS.items():
        for share in (0.2, 0.5, 0.8) * 8:
            of_id, ood = rng.normal(size=round(2000 * (1 - share))), ood_of(rng, round(2000 * share))
            pool = np.r_[of_id, ood]
            (row,) = own.estimate({"s": rng.normal(size=1000)}, {"s": pool}, BENCH)
            assert (row["status"] == "ok") == (row["auroc_sure_lo"] is not None)
            if row["status"] == "ok":
                said += 1
                held += row["auroc_sure_lo"] <= detection_metrics(of_id, ood)["auroc"] <= row["auroc_sure_hi"]
                wide += [row["auroc_sure_hi"] - row["auroc_sure_lo"]] * (kind == "apart" and share == 0.8)
    assert said > 60
    assert held / said > 0.95
    assert max(wide) < 0.2
    validation, ood = rng.normal(size=1000), rng.normal(-2, 1, 500)
    pool = np.r_[rng.normal(size=500), ood]
    (row,) = own.estimate({"s": validation}, {"s": pool}, BENCH, share=0.5)
    assert row["auroc_sure_lo"] < row["auroc"] < row["auroc_sure_hi"]
    assert row["auroc_sure_hi"] - row["auroc_sure_lo"] < 0.15
    assert "AUROC, sure" in wording.format_estimates([row], BENCH)
