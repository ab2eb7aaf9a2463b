"""Means over ID sets beside naive float64 arithmetic, where images have several roles: an OOD set of two ID sets."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.special import psi

from oodgrid import paths, store
from oodgrid.config import parse
from oodgrid.errors import OodgridError
from oodgrid.evaluate.run import evaluate

SIZES = {"a": 40, "b": 25, "c": 30, "n1": 30, "f1": 35, "f2": 20}
STUDY = {  # by ID set: near and far; "a" is an OOD set too, "f1" is one of all, and numbers of sets differ
    "a": {"near": ["n1"], "far": ["f1", "f2"]},
    "b": {"near": ["a"], "far": ["f1"]},
    "c": {"near": ["n1", "a"], "far": ["f1"]},
}
SCORES, SEEDS = ["mcm", "msp"], [1, 2, 3]
METHODS = {"zero_shot": [0], "coop": [1, 4], "prototype": [1, 4]}
SCOPES = ("near", "far", "overall")


def sets_of(id_dataset, scope):
    kinds = ("near", "far") if scope == "overall" else (scope,)
    return [name for kind in kinds for name in STUDY[id_dataset][kind]]


def scores_of(method, shots, seed, id_dataset, name, score):
    """Scores of one set: what all ID sets and methods see in an image, and noise of their own."""
    number = list(SIZES).index(name)
    common = np.random.default_rng(number).normal(1.2 * (name == id_dataset), 1, SIZES[name])
    rng = np.random.default_rng([len(method), shots, seed, number, ord(id_dataset), len(SCORES), SCORES.index(score)])
    return np.round(common + rng.normal(0, 0.4, SIZES[name]) + rng.normal(0, 0.2), 1)


def table_of(id_dataset, method):
    frames, fits = [], []
    names = [id_dataset, *sets_of(id_dataset, "overall")]
    for shots in METHODS[method]:
        for seed in SEEDS if shots else [0]:
            parts = {name: f"{id_dataset}-{method}-{name}-{shots}-{seed}" for name in names}
            fits.append({"shots": shots, "seed": seed, "status": "ok", "reason": None, "parts": parts})
            for name in names:
                rng = np.random.default_rng([shots, seed, ord(id_dataset), len(method)])
                columns = {"label": np.arange(SIZES[name]) % 5 - 1, "prediction": rng.integers(0, 4, SIZES[name])}
                columns |= {s: scores_of(method, shots, seed, id_dataset, name, s) for s in SCORES}
                keys = {"dataset": name, "shots": shots, "seed": seed}
                frames.append(pl.DataFrame(columns).with_columns(pl.lit(v).alias(k) for k, v in keys.items()))
    return pl.concat(frames), {"fits": fits, "params": {name: {"T": 1.0} for name in SCORES}}


def entry(name):
    return {"name": name, "generated": {"kind": "noise"}}


def write_study(results, experiment_of):
    datasets = [
        {**entry(name), "ood": {kind: [entry(ood) for ood in oods] for kind, oods in kinds.items()}}
        for name, kinds in STUDY.items()
    ]
    config = experiment_of(id_datasets=datasets, methods=list(METHODS), scores=SCORES, shots=[1, 4], seeds=SEEDS)
    for name in STUDY:
        for method in METHODS:
            store.write_table(paths.scores(results, "mini", "tiny", name, method), *table_of(name, method))
    return parse(config)


@pytest.fixture(scope="module")
def study(tmp_path_factory, experiment_of):
    results = tmp_path_factory.mktemp("across")
    evaluate(results, write_study(results, experiment_of))
    return [store.read_table(path(results, "mini"))[0] for path in (paths.summary, paths.comparisons)]


def values_of(row, scope):
    """Naive: AUROC by ID set and seed (D, S), and of every dataset the sum of its images' placements in all roles."""
    method, shots, score = row
    areas, images = [], {name: np.zeros(size) for name, size in SIZES.items()}
    for id_dataset in STUDY:
        oods, of_seeds = sets_of(id_dataset, scope), []
        seeds = SEEDS if shots else [0]
        weight = 1 / (len(STUDY) * len(oods) * len(seeds))
        for seed in seeds:
            own = scores_of(method, shots, seed, id_dataset, id_dataset, score)
            wins = []
            for name in oods:
                other = scores_of(method, shots, seed, id_dataset, name, score)
                wins.append((own[:, None] > other) + 0.5 * (own[:, None] == other))
                images[id_dataset] += weight * wins[-1].mean(axis=1)
                images[name] += weight * wins[-1].mean(axis=0)
            of_seeds.append(np.mean([each.mean() for each in wins]))
        areas.append(of_seeds)
    return np.array(areas), images


def variance(images):
    return sum(np.var(each, ddof=1) / len(each) for each in images.values())


def fits_of(areas):
    """Variance and degrees of freedom of the mean over D ID sets, whose S fits each are independent."""
    sets, seeds = areas.shape
    if seeds == 1 or not areas.any():
        return 0.0, np.inf
    parts = np.var(areas, axis=1, ddof=1) / seeds / sets**2
    return parts.sum(), parts.sum() ** 2 / np.sum(parts**2 / (seeds - 1))


@pytest.mark.parametrize("scope", SCOPES)
def test_means_over_id_sets_have_both_variances(study, scope):
    means = study[0]
    shown = means.filter(pl.col("id_dataset").is_null(), scope=scope, metric="auroc")
    assert len(shown) == 10
    for row in shown.iter_rows(named=True):
        key = (row["method"], row["shots"], row["score"])
        areas, images = values_of(key, scope)
        samples, (fits, df) = variance(images), fits_of(areas)
        assert row["mean"] == pytest.approx(areas.mean(), abs=1e-12)
        assert row["se_samples"] == pytest.approx(samples**0.5, rel=1e-4)
        assert row["se_fits"] == pytest.approx(fits**0.5, rel=1e-6)
        assert row["se"] == pytest.approx((samples + fits) ** 0.5, rel=1e-4)
        assert row["sets"] == sum(len(sets_of(name, scope)) for name in STUDY)
        assert row["lo"] < row["mean"] < row["hi"]
        assert row["seeds"] == areas.shape[1]
        if areas.shape[1] > 1:
            assert row["seed_sd"] == pytest.approx(np.std(areas.mean(axis=0), ddof=1))
            assert row["df"] == pytest.approx((samples + fits) ** 2 / (fits**2 / df), rel=1e-3)
        parts = means.filter(pl.col("id_dataset").is_not_null(), method=key[0], shots=key[1], score=key[2], scope=scope,
                             metric="auroc")  # fmt: skip
        assert parts["mean"].mean() == pytest.approx(row["mean"])
        assert set(parts["id_dataset"]) == set(STUDY)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("against", ["zero_shot_mcm", "zero_shot", "best", "best_of_score", "best_of_method"])
def test_differences_over_id_sets_are_paired_by_image(study, scope, against):
    means, differences = (table.filter(pl.col("id_dataset").is_null(), scope=scope, metric="auroc") for table in study)
    rows = differences.filter(against=against)
    assert len(rows) == (10 if against.startswith("zero_shot") else 6)
    known = {row[:3]: row[3] for row in means.select("method", "shots", "score", "mean").rows()}
    values, spreads = {}, []
    for row in rows.iter_rows(named=True):
        key, other = ((row[f"{p}method"], row[f"{p}shots"], row[f"{p}score"]) for p in ("", "reference_"))
        if against == "best":
            assert known[other] == max(mean for each, mean in known.items() if each[1] in (0, 4))
        (a, of_a), (b, of_b) = values_of(key, scope), values_of(other, scope)
        values[key] = variance({name: of_a[name] - of_b[name] for name in SIZES}), a - b, key == other
        if (a - b).shape[1] > 1 and key != other:
            fits, df = fits_of(a - b)
            spreads.append(np.log(fits * 3) + np.log(df / 2) - float(psi(df / 2)))
        assert row["diff"] == pytest.approx((a - b).mean(), abs=1e-12)
    pool = np.exp(np.mean(spreads))
    for row in rows.iter_rows(named=True):
        samples, d, same = values[row["method"], row["shots"], row["score"]]
        fits, df = fits_of(d)
        fits = 0 if same or d.shape[1] == 1 else (4 * pool + df * fits * 3) / (4 + df) / 3
        assert row["se"] == pytest.approx((samples + fits) ** 0.5, rel=1e-4, abs=1e-7)
        if same:
            assert (row["p"], row["is_best"]) == (1, True if against.startswith("best") else None)


def test_accuracies_of_id_sets_are_independent(study):
    means = study[0].filter(metric="id_accuracy")
    whole, parts = means.filter(pl.col("id_dataset").is_null()), means.filter(pl.col("id_dataset").is_not_null())
    assert len(whole) == 5
    for row in whole.iter_rows(named=True):
        of_sets = parts.filter(method=row["method"], shots=row["shots"])
        assert row["mean"] == pytest.approx(of_sets["mean"].mean())
        assert row["se_samples"] == pytest.approx(np.sqrt(of_sets["se_samples"].pow(2).sum()) / 3)
        assert row["se_fits"] == pytest.approx(np.sqrt(of_sets["se_fits"].pow(2).sum()) / 3)


def test_what_is_averaged_over_id_sets(study):
    means, differences = (table.filter(pl.col("id_dataset").is_null()) for table in study)
    assert set(means["scope"]) == {*SCOPES, "id"}
    assert set(differences["metric"]) == {"auroc", "fpr95_id_pos", "fpr95_ood_pos", "id_accuracy"}
    certain = means.filter(pl.col("metric").is_in(["fpr95_id_pos", "fpr95_ood_pos"]))
    assert certain.select("se", "lo", "hi").null_count().row(0) == (0, 0, 0)
    assert certain.filter((pl.col("lo") > pl.col("mean")) | (pl.col("hi") < pl.col("mean"))).is_empty()
    assert means["tied"].drop_nulls().is_between(0, 1).all()


def test_images_in_several_roles_are_summed_before_they_are_squared():
    """Four ID sets share an OOD set whose images are alike hard under all: as independent, intervals are too narrow."""
    rng, truth = np.random.default_rng(0), stats.norm.cdf(1 / np.sqrt(2))
    inside = {"summed": [], "apart": []}
    for _ in range(400):
        common = rng.normal(size=40)
        areas, placements, of_id = [], [], 0.0
        for _ in range(4):
            own, other = rng.normal(1, 1, 200), common * 0.95**0.5 + rng.normal(0, 0.05**0.5, 40)
            wins = own[:, None] > other
            areas.append(wins.mean())
            placements.append(wins.mean(axis=0))
            of_id += np.var(wins.mean(axis=1), ddof=1) / 200 / 16
        summed = np.var(np.mean(placements, axis=0), ddof=1) / 40
        apart = sum(np.var(each, ddof=1) for each in placements) / 40 / 16
        for name, of_ood in (("summed", summed), ("apart", apart)):
            inside[name].append(abs(np.mean(areas) - truth) <= 1.96 * (of_id + of_ood) ** 0.5)
    assert np.mean(inside["summed"]) > 0.91
    assert np.mean(inside["apart"]) < 0.85


def test_tables_of_other_samples_are_refused(tmp_path, experiment_of):
    """All tables of one ID set have fewer images of a dataset than those of the others."""
    experiment = write_study(tmp_path, experiment_of)
    for method in METHODS:
        path = paths.scores(tmp_path, "mini", "tiny", "b", method)
        table, about = store.read_table(path)
        fewer = table.filter(
            (pl.col("dataset") != "f1") | (pl.int_range(pl.len()).over("dataset", "shots", "seed") < 30)
        )
        store.write_table(path, fewer, about)
    with pytest.raises(OodgridError, match=r"30 samples of f1, and a table of another ID set does not: snakemake"):
        evaluate(tmp_path, experiment)


def test_a_row_is_averaged_where_every_id_set_has_a_fit_at_whatever_seed(tmp_path, experiment_of):
    """Each ID set lacks the fits of another seed, so that no seed is common; of prototype one ID set has none."""
    experiment = write_study(tmp_path, experiment_of)
    failed = {("coop", name): [seed] for name, seed in zip(STUDY, SEEDS, strict=True)} | {("prototype", "b"): SEEDS}
    for (method, name), seeds in failed.items():
        path = paths.scores(tmp_path, "mini", "tiny", name, method)
        table, about = store.read_table(path)
        for fit in about["fits"]:
            if fit["seed"] in seeds and fit["shots"] == 4:
                fit |= {"status": "failed", "reason": "diverged", "parts": {}}
        store.write_table(path, table.filter((pl.col("shots") != 4) | ~pl.col("seed").is_in(seeds)), about)
    evaluate(tmp_path, experiment)
    means, differences = (store.read_table(path(tmp_path, "mini"))[0] for path in (paths.summary, paths.comparisons))
    keys = ["score", "scope", "metric"]
    for method, shots, expected in (("coop", 4, True), ("prototype", 4, False), ("prototype", 1, True)):
        rows = means.filter(pl.col("ood_dataset").is_null(), method=method, shots=shots)
        across, of_sets = rows.filter(pl.col("id_dataset").is_null()), rows.filter(pl.col("id_dataset").is_not_null())
        assert bool(len(across)) == expected, method
        for row in across.filter(pl.col("metric").is_in(["auroc", "fpr95_id_pos", "fpr95_ood_pos"])).to_dicts():
            parts = of_sets.filter(**{key: row[key] for key in keys})["mean"]
            assert len(parts) == len(STUDY) and row["mean"] == pytest.approx(parts.mean(), abs=1e-12)
            assert row["seeds"] == (0 if method == "coop" else len(SEEDS))
            assert row["se_fits"] > 0 and row["lo"] < row["mean"] < row["hi"]
    compared = differences.filter(
        pl.col("id_dataset").is_null(), method="coop", shots=4, metric="auroc", against="best"
    )
    assert set(compared["scope"]) == set(SCOPES) and compared["diff"].is_not_null().all()
