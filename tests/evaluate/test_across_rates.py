"""All rates over several ID sets, of scores of samples and of streams, beside loops in float64; studies are drawn."""

from __future__ import annotations

from functools import cache
from math import ceil, sqrt
from zlib import crc32

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.special import psi

from oodgrid import paths, store
from oodgrid.config import parse
from oodgrid.evaluate import influence
from oodgrid.evaluate.run import evaluate
from oodgrid.evaluate.summary import JUMPS

RATES = ("auroc", "fpr95_id_pos", "fpr95_ood_pos")
SCOPES = ("near", "far", "overall")
SEEDS, ORDERS = [1, 2, 3], [0, 1]
METHODS = {"zero_shot": 0, "coop": 4}  # and their shots
SAMPLES, STREAM = ("mcm", "msp"), "clipscope@labels=concept-words"


class Study:
    """ID sets a, b, c; an OOD set may be one of them, belong to several, or be missing beside one."""

    def __init__(self, number):
        rng = np.random.default_rng(number)
        self.number = number
        self.sizes = {name: int(rng.integers(18, 70)) for name in ("a", "b", "c", "n1", "n2", "f1", "f2")}
        self.oods = {}
        for name in "abc":
            others = [each for each in "abc" if each != name]
            near = rng.permutation(["n1", "n2", *others])[: rng.integers(1, 4)].tolist()
            self.oods[name] = {"near": near, "far": rng.permutation(["f1", "f2"])[: rng.integers(1, 3)].tolist()}
        if number % 2:
            self.oods["b"]["far"] = []  # so there is no mean over far sets
        self.scores, self.expected = cache(self._scores), cache(self._expected)
        self.grid = (0.02, 0.3, 1.0)[number % 3]  # to which scores are rounded: many ties, or few

    def sets(self, id_dataset, scope):
        return [name for kind in ("near", "far") if scope in (kind, "overall") for name in self.oods[id_dataset][kind]]

    def scopes(self):
        return [scope for scope in SCOPES if all(self.sets(name, scope) for name in self.oods)]

    def _scores(self, id_dataset, method, seed, score, order, ood, name):
        """Of the images of one set: what all see in them, and what this fit and stream make of it."""
        size = self.sizes[name]
        common = np.random.default_rng([self.number, crc32(name.encode())]).normal(1.3 * (name == id_dataset), 1, size)
        stream = f"{order}{ood}" if score == STREAM else ""
        key = "/".join(map(str, (id_dataset, method, seed, score, stream)))
        of_fit = np.random.default_rng([self.number, crc32(key.encode())])
        own = np.random.default_rng([self.number, crc32((key + name).encode())])
        values = common * (1 + of_fit.normal(0, 0.1)) + own.normal(0, 0.4, size)
        if name == id_dataset:
            values = values + of_fit.normal(0, 0.2)
        return np.round(values / self.grid) * self.grid

    def write(self, results, experiment_of):
        """Write the score tables, and return the configuration."""
        for id_dataset in self.oods:
            for method in METHODS:
                place = (results, "mini", "tiny", id_dataset, method)
                store.write_table(paths.scores(*place), *self.table(id_dataset, method))
                store.write_table(paths.streams(*place), *self.streams(id_dataset, method))
        datasets = [
            {**entry(name), "ood": {kind: [entry(ood) for ood in names] for kind, names in oods.items() if names}}
            for name, oods in self.oods.items()
        ]
        scores = [*SAMPLES, {"name": "clipscope", "labels": "concept-words", "order": ORDERS}]
        return parse(experiment_of(id_datasets=datasets, methods=list(METHODS), scores=scores, shots=[4], seeds=SEEDS))

    def table(self, id_dataset, method):
        frames, fits = [], []
        names = [id_dataset, *self.sets(id_dataset, "overall")]
        for seed in SEEDS if METHODS[method] else [0]:
            fits.append(fit_of(method, seed, {name: f"{id_dataset}{method}{seed}{name}" for name in names}))
            for name in names:
                values = {s: self.scores(id_dataset, method, seed, s, 0, "", name) for s in SAMPLES}
                frames.append(frame_of(values, {"dataset": name, "shots": METHODS[method], "seed": seed}))
        return pl.concat(frames), {"fits": fits, "params": {name: {} for name in SAMPLES}}

    def streams(self, id_dataset, method):
        frames, fits = [], []
        listed = {(f"{STREAM},order={order}" if order else STREAM): order for order in ORDERS}
        oods = self.sets(id_dataset, "overall")
        for seed in SEEDS if METHODS[method] else [0]:
            fits.append(fit_of(method, seed, {ood: f"{id_dataset}{method}{seed}{ood}stream" for ood in oods}))
            for ood in oods:
                for name in (id_dataset, ood):
                    values = {s: self.scores(id_dataset, method, seed, STREAM, o, ood, name) for s, o in listed.items()}
                    keys = {"ood_dataset": ood, "dataset": name, "shots": METHODS[method], "seed": seed}
                    frames.append(frame_of(values, keys))
        params = {name: {"labels": "concept-words", "order": order} for name, order in listed.items()}
        return pl.concat(frames), {"fits": fits, "params": params}

    def _expected(self, rate, scope, method, score):
        """Naive: the rate of every ID set, seed and order (D, S, O), and each image's influence on the mean of all."""
        seeds, orders = SEEDS if METHODS[method] else [0], ORDERS if score == STREAM else [0]
        rates = np.zeros((len(self.oods), len(seeds), len(orders)))
        images = {name: np.zeros(size) for name, size in self.sizes.items()}
        for d, id_dataset in enumerate(self.oods):
            oods = self.sets(id_dataset, scope)
            weight = 1 / (len(self.oods) * len(oods) * len(seeds) * len(orders))
            for s, seed in enumerate(seeds):
                for o, order in enumerate(orders):
                    for ood in oods:
                        key = (id_dataset, method, seed, score, order, ood)
                        value, of_id, of_ood = naive(rate, self.scores(*key, id_dataset), self.scores(*key, ood))
                        rates[d, s, o] += value / len(oods)
                        images[id_dataset] += weight * of_id
                        images[ood] += weight * of_ood
        return rates, images


def entry(name):
    return {"name": name, "generated": {"kind": "noise"}}


def fit_of(method, seed, parts):
    return {"shots": METHODS[method], "seed": seed, "status": "ok", "reason": None, "parts": parts}


def frame_of(values, keys):
    size = len(next(iter(values.values())))
    frame = pl.DataFrame({"label": np.zeros(size, int), "prediction": np.zeros(size, int), **values})
    return frame.with_columns(pl.lit(value).alias(key) for key, value in keys.items())


def naive(rate, own, other):
    """The rate of a pair, and the influence of each of its ID and OOD samples, sample by sample."""
    if rate == "auroc":
        wins = (own[:, None] > other) + (own[:, None] == other) / 2
        return wins.mean(), wins.mean(axis=1), wins.mean(axis=0)
    own, other = own.tolist(), other.tolist()
    if rate == "fpr95_ood_pos":  # a threshold from low scores up, on the OOD side: the mirror image
        value, of_ood, of_id = naive_fpr([-y for y in other], [-x for x in own], nearest=False)
    else:
        value, of_id, of_ood = naive_fpr(own, other, nearest=True)
    return value, of_id, of_ood


def naive_fpr(side, counted, nearest):
    """Of a threshold on one side, seen from the highest score down: the share of the other side that it lets pass."""
    n, down = len(side), sorted(side, reverse=True)
    recalls = {t: sum(s >= t for s in side) for t in side}
    reached = [(abs(20 * c - 19 * n), -c, t) for t, c in recalls.items()]
    enough = [(c, t) for t, c in recalls.items() if 20 * c >= 19 * n]
    threshold = min(reached)[2] if nearest else min(enough)[1]

    def passing(recall):
        at = down[max(1, ceil(recall * n - 1e-9)) - 1]
        return sum(c >= at for c in counted) / len(counted)

    step = 1.5 * sqrt(0.05 * 0.95 / n)
    low, high = max(0.95 - step, 1 / n), min(0.95 + step, 1)
    slope = (passing(high) - passing(low)) / (high - low)
    passed = np.array([float(c >= threshold) for c in counted])
    return passed.mean(), np.array([slope * (s < threshold) for s in side]), passed


def of_samples(images):
    return sum(sum((v - sum(each) / len(each)) ** 2 for v in each) / len(each) / (len(each) - 1)
               for each in images.values())  # fmt: skip


def of_mean(values):
    """Variance and degrees of freedom of the mean of one ID set's fits (S, O): seeds and orders meet one another."""
    seeds, orders = values.shape
    if seeds == 1 or orders == 1:
        count = seeds * orders
        return (np.var(values, ddof=1) / count, count - 1) if count > 1 else (0.0, 0)
    mean, of_seeds, of_orders = values.mean(), values.mean(axis=1), values.mean(axis=0)
    squares = [
        orders * sum((x - mean) ** 2 for x in of_seeds) / (seeds - 1),
        seeds * sum((x - mean) ** 2 for x in of_orders) / (orders - 1),
        sum((values[s, o] - of_seeds[s] - of_orders[o] + mean) ** 2 for s in range(seeds) for o in range(orders))
        / ((seeds - 1) * (orders - 1)),
    ]
    whole = max(squares[0] + squares[1] - squares[2], squares[0], squares[1])
    degrees = [seeds - 1, orders - 1, (seeds - 1) * (orders - 1)]
    df = whole**2 / sum(square**2 / each for square, each in zip(squares, degrees, strict=True)) if whole else 1
    return whole / (seeds * orders), min(max(df, 1), sum(degrees))


def of_fits(rates):
    """Variance, degrees of freedom and number of the mean over ID sets, whose fits are drawn apart.

    The number is that of seeds, or of orders where there are no seeds: each is pooled with its like.
    """
    parts = [of_mean(each) for each in rates]
    together = sum(variance for variance, _ in parts) / len(parts) ** 2
    terms = sum((variance / len(parts) ** 2) ** 2 / df for variance, df in parts if variance)
    return together, together**2 / terms if terms else np.inf, _of_what(rates[0])[1]


def _of_what(rates):
    seeds, orders = rates.shape
    return ("seeds", seeds) if seeds > 1 else ("orders", orders)


def student(df):
    return stats.norm.ppf(0.975) if df is None else stats.t.ppf(0.975, df)


def worth(drawn, rate, scope):
    """As how many samples of one set those count that a rate over ID sets is a share of; of AUROC the fewer side's."""
    of_id = len(drawn.oods) ** 2 / sum(1 / drawn.sizes[name] for name in drawn.oods)
    weights = {}
    for id_dataset in drawn.oods:
        for ood in (oods := drawn.sets(id_dataset, scope)):
            weights[ood] = weights.get(ood, 0) + 1 / len(oods) / len(drawn.oods)
    together = 1 / sum(weight**2 / drawn.sizes[name] for name, weight in weights.items())
    every = sum(drawn.sizes[name] for name in weights)
    return {"auroc": min(of_id, together), "fpr95_id_pos": every, "fpr95_ood_pos": of_id}[rate]


@pytest.fixture(scope="module", params=[0, 1, 2])
def study(request, tmp_path_factory, experiment_of):
    results, drawn = tmp_path_factory.mktemp(f"study{request.param}"), Study(request.param)
    with pytest.MonkeyPatch.context() as patch:  # that rates of few or tied samples jump is tested elsewhere
        patch.setattr(influence, "FEW_FOR_BOOTSTRAP", 0)
        patch.setattr(influence, "MOST_TIED", 1.0)
        evaluate(results, drawn.write(results, experiment_of))
    tables = [store.read_table(path(results, "mini"))[0] for path in (paths.summary, paths.comparisons)]
    return drawn, *(table.filter(pl.col("id_dataset").is_null()) for table in tables)


@pytest.mark.parametrize("rate", RATES)
def test_means_over_id_sets(study, rate):
    drawn, means, _ = study
    rows = means.filter(metric=rate)
    assert set(rows["scope"]) == set(drawn.scopes())
    assert len(rows) == len(drawn.scopes()) * len(METHODS) * 3
    for row in rows.iter_rows(named=True):
        rates, images = drawn.expected(rate, row["scope"], row["method"], row["score"])
        samples, (fits, df, _) = of_samples(images), of_fits(rates)
        assert row["mean"] == pytest.approx(rates.mean(), abs=1e-12)
        assert row["se_samples"] == pytest.approx(samples**0.5, rel=1e-5)
        assert row["se_fits"] == pytest.approx(fits**0.5, rel=1e-6)
        assert row["se"] == pytest.approx((samples + fits) ** 0.5, rel=1e-5)
        assert row["df"] == pytest.approx((samples + fits) ** 2 / fits**2 * df, rel=1e-4) if fits else row["df"] is None
        assert (row["seeds"], row["orders"]) == rates.shape[1:]
        for name, axis in (("seed_sd", 2), ("order_sd", 1)):
            over = rates.mean(axis=(0, axis))
            sd = np.std(over, ddof=1) if len(over) > 1 else None
            assert row[name] == (None if sd is None else pytest.approx(sd, abs=1e-12))
        mean, spread = row["mean"], (samples + fits) ** 0.5
        middle, half = np.log(mean / (1 - mean)), student(row["df"]) * spread / (mean * (1 - mean))
        lo, hi = 1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle))
        assert row["lo"] <= lo + 1e-5 < mean < hi - 1e-5 <= row["hi"]
        if worth(drawn, rate, row["scope"]) * min(mean, 1 - mean) > 10:  # of fewer it is wider
            assert (row["lo"], row["hi"]) == pytest.approx((lo, hi), abs=1e-5)


@pytest.mark.parametrize("against", ["zero_shot", "best"])
@pytest.mark.parametrize("rate", RATES)
def test_differences_over_id_sets(study, rate, against):
    drawn, _, differences = study
    for scope in drawn.scopes():
        rows = differences.filter(metric=rate, scope=scope, against=against).to_dicts()
        assert len(rows) == len(METHODS) * 3
        expected, logs = [], {"seeds": [], "orders": []}
        for row in rows:
            key, other = ((row[f"{p}method"], row[f"{p}score"]) for p in ("", "reference_"))
            (a, of_a), (b, of_b) = (drawn.expected(rate, scope, *each) for each in (key, other))
            samples = of_samples({name: of_a[name] - of_b[name] for name in of_a})
            fits = of_fits(a - b) if key != other else (0.0, np.inf, 1)
            source = _of_what((a - b)[0])[0]
            if fits[0]:
                logs[source].append(np.log(fits[0] * fits[2]) - float(psi(fits[1] / 2)) + np.log(fits[1] / 2))
            expected.append(((a - b).mean(), samples, fits, key == other, source))
        for row, (diff, samples, (variance, df, number), same, source) in zip(rows, expected, strict=True):
            pool = np.exp(np.mean(logs[source])) if variance else 0.0
            fits = (4 * pool + df * variance * number) / (4 + df) / number if variance else 0.0
            assert row["fits"] == (source if variance else "none")
            assert row["diff"] == pytest.approx(diff, abs=1e-12)
            assert row["se"] == pytest.approx(0 if same else (samples + fits) ** 0.5, rel=1e-5, abs=1e-7)


def test_a_rate_that_jumps_for_one_id_set_is_not_compared_over_all(tmp_path, experiment_of):
    drawn = Study(0)
    drawn.sizes, drawn.grid = {"a": 250, "b": 250, "n1": 250, "f1": 250, "f2": 100}, 1e-6
    drawn.oods = {"a": {"near": ["n1"], "far": ["f1"]}, "b": {"near": ["n1"], "far": ["f2"]}}
    evaluate(tmp_path, drawn.write(tmp_path, experiment_of))
    differences, _ = store.read_table(paths.comparisons(tmp_path, "mini"))
    for row in differences.filter(pl.col("metric").is_in(RATES), pl.col("scope").is_in(SCOPES)).iter_rows(named=True):
        few = row["id_dataset"] != "a" and row["scope"] != "near"  # of b alone, and over both
        untold = row["metric"] == "fpr95_ood_pos" and few
        assert (row["p"] is None, row["reason"]) == (untold, JUMPS if untold else None), row
        assert row["diff"] is not None
    across = differences.filter(pl.col("id_dataset").is_null(), scope="overall")
    assert dict(across.group_by("metric").agg(pl.col("p").null_count() > 0).rows()) == {
        "auroc": False, "fpr95_id_pos": False, "fpr95_ood_pos": True
    }  # fmt: skip
