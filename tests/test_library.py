"""The library: every score by its name on plain arrays, its words and its refusals; what runs without torch."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import oodgrid
from oodgrid import metrics, registry, scores, store
from oodgrid.config import Choice
from oodgrid.errors import OodgridError
from oodgrid.evaluate.intervals import intervals
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.score.checks import LOGITS, example, example_texts
from oodgrid.score.compute import compute
from oodgrid.scores import arguments
from tests.failing import failure

ROOT = Path(__file__).parents[1]
# those that go through a text tower: tests/score/test_inversion.py
NAMES = sorted(name for name, entry in registry.entries("score").items() if "text_tower" not in entry.needs)
GIVEN, TEXTS = example(), example_texts()
BANK = GIVEN["bank"]
PAIRS = replace(TEXTS, features=np.tile(TEXTS.features, (3, 1)), names=TEXTS.names * 3, kinds=TEXTS.kinds * 3)
ARRAYS = {
    "features": 7 * GIVEN["features"],  # as an encoder gives them
    "weights": GIVEN["head"].weights,
    "train_features": 3 * BANK.features,
    "train_labels": BANK.labels,
    "train_logits": BANK.own_logits(),
    "val_logits": BANK.own_logits(),
    "labels": TEXTS.features,
    "texts": TEXTS.by_template,
    "agents": TEXTS.features,
    "noise": TEXTS.features,
    "pool": TEXTS.features,
    "pairs": PAIRS.features,
    "train_layer_features": BANK.layers,
    **{
        name: GIVEN[name]
        for name in (*LOGITS, "layer_features", "corrupted_features", "class_texts", "prompt_variants", "pair_texts")
    },
}


def texts_of(name):
    """Return texts beside the classes: one a class for CLIPN."""
    return replace(TEXTS, features=TEXTS.features[:3], names=TEXTS.names[:3]) if name.startswith("clipn") else TEXTS


def arrays_of(name):
    """Return what a score takes, without what its default stands for."""
    wanted = inspect.signature(getattr(scores, name)).parameters.values()
    given = {**ARRAYS, "labels": texts_of(name).features}
    return {p.name: given[p.name] for p in wanted if p.default is p.empty or p.name == "train_logits"}


# ------------------------------------------------------------------------------------------------- scores by name


@pytest.mark.parametrize("name", NAMES)
def test_a_score_of_arrays_is_what_the_stage_computes(name):
    lists = {p: "pairs" if p == "pairs" else "away" for p in registry.find("score", name).label_lists}
    expected = compute(Choice(name=name, **lists), GIVEN, {"away": texts_of(name), "pairs": PAIRS})
    found = getattr(scores, name)(**arrays_of(name))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert found.dtype == np.float64


@pytest.mark.parametrize("name", NAMES)
def test_arrays_come_in_the_order_of_the_signature_and_parameters_by_name(name):
    signature = inspect.signature(getattr(scores, name))
    positional = [p.name for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    given = arrays_of(name)
    first = [given.pop(each) for each in positional]
    np.testing.assert_array_equal(getattr(scores, name)(*first, **given), getattr(scores, name)(**arrays_of(name)))
    with pytest.raises(TypeError):
        getattr(scores, name)(*first, 0.5, **given)


@pytest.mark.parametrize("name", NAMES)
def test_help_names_every_argument_and_no_other(name):
    function = getattr(scores, name)
    entry = registry.find("score", name)
    assert function.__doc__.startswith(entry.summary)
    args = function.__doc__.split("\n\nArgs:\n")[1].split("\n\n")[0].splitlines()
    named = [line.strip().split(":")[0] for line in args if line.startswith("    ") and line[4] != " "]
    assert set(named) == set(inspect.signature(function).parameters)
    assert all(line.split(": ", 1)[1:] for line in args if line[4] != " "), args
    assert "Skip" not in function.__doc__
    assert entry.paper in function.__doc__


def test_a_variant_is_the_score_with_that_parameter():
    logits = GIVEN["logits"]
    np.testing.assert_array_equal(scores.mcm(logits, T=0.5), registry.find("score", "mcm").make(logits, T=0.5))


@pytest.mark.parametrize("make", [np.asarray, np.float32, np.ndarray.tolist, pl.DataFrame], ids=str)
def test_whatever_is_an_array_is_taken(make):
    found = scores.max_logit(make(np.asarray(GIVEN["logits"])))
    np.testing.assert_allclose(found, GIVEN["logits"].max(axis=1), rtol=1e-6)


def test_a_tensor_is_taken_by_its_own_conversion():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return np.asarray(GIVEN["logits"])

    np.testing.assert_array_equal(scores.energy(Tensor()), scores.energy(GIVEN["logits"]))


def test_what_is_given_is_not_changed_and_not_remembered():
    logits = np.array(GIVEN["logits"])
    first = scores.mcm(logits)
    np.testing.assert_array_equal(logits, GIVEN["logits"])
    logits[0] = 0.2
    assert first[0] > 0.5
    assert scores.mcm(logits)[0] == pytest.approx(1 / 3)


def test_many_samples_are_scored_in_blocks_and_streams_in_one_piece():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2500, 8))
    logits = rng.uniform(-0.1, 0.4, size=(2500, 3))
    np.testing.assert_array_equal(scores.mcm(logits)[1500:], scores.mcm(logits[1500:]))
    whole = scores.adaneg(features, logits, ARRAYS["class_texts"], labels=TEXTS.features)
    alone = scores.adaneg(features[1024:], logits[1024:], ARRAYS["class_texts"], labels=TEXTS.features)
    assert not np.allclose(whole[1024:], alone)


def test_unlabelled_samples_are_left_out_of_what_is_compared_with():
    more = {
        **arrays_of("knn"),
        "train_features": np.vstack([ARRAYS["train_features"], ARRAYS["features"][:1]]),
        "train_labels": np.append(ARRAYS["train_labels"], -1),
    }
    np.testing.assert_array_equal(scores.knn(**more), scores.knn(**arrays_of("knn")))


# --------------------------------------------------------------------------------------------------- refusals


def faults(name, array):
    """Yield what no array of that name may be, each with a word of the refusal."""
    array = np.asarray(array, dtype=np.float64)
    nan = array.copy()
    nan.flat[0] = np.nan
    yield nan, "NaN"
    yield array[:0], str(array[:0].shape)
    yield array[..., None, None], str((*array.shape, 1, 1))
    yield array.astype(str), "type"
    yield array > 0, "type bool"
    yield array * 1j, "complex"
    yield np.ma.masked_array(array, array > 0), "masked"
    yield [[1.0], [1.0, 2.0]], "array"
    yield object(), "type object"
    if name == "train_labels":
        yield array + 0.5, "no class"
        yield array - 2, "no class"
        yield -np.ones(array.shape), "all are -1"
        yield array[1:], str(array[1:].shape)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_such_array_is_refused_in_one_line_that_says_which(name):
    given = arrays_of(name)
    for argument, (wrong, word) in [(each, fault) for each in given for fault in faults(each, given[each])]:
        with pytest.raises(OodgridError) as caught:
            getattr(scores, name)(**{**given, argument: wrong})
        said = str(caught.value)
        assert said.startswith(f"score {name}: ")
        assert argument in said
        assert word in said
        assert "\n" not in said


def shape_of(argument):
    shapes = arguments.EVERY[argument].shapes if argument in arguments.EVERY else arguments.TEXT_LIST
    return next((shape for shape in shapes if len(shape) == np.ndim(ARRAYS.get(argument))), shapes[0])


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_fit_the_others_is_refused_with_both_shapes(name):
    given = arrays_of(name)
    for argument in given:
        others = "".join(shape_of(other) for other in given if other != argument)
        for axis, letter in enumerate(shape_of(argument)):
            if letter.islower() or letter not in others:
                continue
            wrong = np.delete(given[argument], 0, axis=axis)
            with pytest.raises(
                OodgridError, match=rf"{letter} = \d+ is needed, as of \w+ of shape|is no class"
            ) as caught:
                getattr(scores, name)(**{**given, argument: wrong})
            assert str(wrong.shape) in str(caught.value) or argument == "weights"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: scores.mcm(GIVEN["logits"], T=0), "score mcm: T = 0 does not fit"),
        (lambda: scores.mahalanobis(np.eye(3), np.eye(3), [0, 1, 2]), "score mahalanobis: the tied covariance needs"),
        (
            lambda: scores.she(*[ARRAYS[n] for n in ("features", "logits", "train_features", "train_labels")]),
            "give train_logits",
        ),
        (lambda: scores.all_scores(), "all_scores: give features or logits"),
        (lambda: scores.all_scores(logits=GIVEN["logits"], names=["mmc"]), "unknown score 'mmc': did you mean 'mcm'?"),
        (lambda: scores.all_scores(logits=GIVEN["logits"], words=np.eye(3)), "unknown argument of all_scores 'words'"),
        (lambda: scores.all_scores(features=np.eye(3), bias=[0, 0, 0]), "bias: shape (3,), and no weights beside it"),
        (lambda: scores.all_scores(np.eye(3), train_features=np.eye(3)), "train_labels is missing"),
        (lambda: scores.all_scores("nowhere.h5"), "nowhere.h5"),
        (
            lambda: scores.all_scores(np.eye(3), logits=np.eye(3), names=[{"name": "neglabel", "labels": "nouns"}]),
            "labels is a list of texts: give it as labels=",
        ),
    ],
)
def test_a_mistake_is_one_line(call, said):
    assert said in failure(call)


SAMPLES, TRAIN, LABELS = np.eye(4, 8) + 0.1, np.eye(9, 8) + 0.1, np.arange(9) % 3
ZEROS = np.vstack([SAMPLES[:3], np.zeros((1, 8))])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores.mcm(), "score mcm: missing a required argument: 'logits'; its arguments are logits, T"),
        (lambda: scores.mcm(np.eye(3), np.eye(3)), "score mcm: too many positional arguments"),
        (lambda: scores.mcm(np.eye(3), logit=1), "unknown argument of score mcm 'logit': did you mean 'logits'?"),
        (lambda: scores.knn(SAMPLES, TRAIN, LABELS, bank="train"), "unknown argument of score knn 'bank'"),
        (lambda: scores.mcm(type("Odd", (), {"shape": 3})()), "logits: type object where"),
        (lambda: scores.all_scores(SAMPLES, names="mcm"), "names is a list, as names=['mcm'], not 'mcm'"),
        (lambda: scores.all_scores(SAMPLES, names={"name": "mcm"}), "names is a list, as names=['mcm'], not {"),
        (lambda: scores.all_scores(SAMPLES, names=3), "names is a list, as names=['mcm'], not 3"),
        (lambda: scores.all_scores(SAMPLES, names=[3]), "a score is written as its name or as {'name': …}, not 3"),
        (lambda: scores.all_scores(SAMPLES, names=[{"T": 1}]), "as its name or as {'name': …}, not {'T': 1}"),
        (lambda: scores.all_scores(SAMPLES, names=[{"name": "mcm", 3: 1}]), "as its name or as {'name': …}, not {"),
        (lambda: scores.all_scores(SAMPLES, method="coop"), "method is what oodgrid.methods has fitted, not 'coop'"),
        *[
            (lambda shots=shots: scores.knn(SAMPLES, TRAIN, LABELS, shots=shots), "a whole number above 0 is needed")
            for shots in ("a", -1, 0, 2.5, [1], True, np.array([1, 2]))
        ],
        (lambda: scores.knn(SAMPLES, TRAIN, LABELS, k=10), "score knn: k = 10, and there are 9 labelled samples"),
        (lambda: scores.knn(SAMPLES, TRAIN, [0, 1, 2, *[-1] * 6], k=4), "k = 4, and there are 3 labelled samples"),
        (
            lambda: scores.knn(ZEROS, TRAIN, LABELS),
            "features: 1 row is all zeros, the first at index 3",
        ),
        (lambda: scores.knn(SAMPLES, TRAIN * (LABELS > 0)[:, None], LABELS), "train_features: 3 rows are all zeros"),
        (
            lambda: scores.tag(SAMPLES, np.stack([ZEROS, ZEROS])),
            "prompt_variants: 2 rows are all zeros",
        ),
        (lambda: scores.neglabel(SAMPLES, np.eye(4), ZEROS, labels=TRAIN), "class_texts: 1 row is all zeros"),
        (lambda: scores.neglabel(SAMPLES, np.eye(4), SAMPLES, labels=ZEROS), "labels: 1 row is all zeros"),
    ],
)
def test_a_wrong_call_is_one_line_that_names_the_argument(call, message):
    assert message in failure(call)


def test_a_score_with_more_neighbours_than_samples_is_left_out_of_all_scores():
    wanted = ["knn", {"name": "knn", "k": 9}, {"name": "knn", "k": 10}]
    values, skipped = scores.all_scores(SAMPLES, names=wanted, train_features=TRAIN, train_labels=LABELS)
    assert set(values) == {"knn", "knn@k=9"}
    assert skipped == {"knn@k=10": "k = 10, and there are 9 labelled samples: give 9 at most"}


# --------------------------------------------------------------------------------------------------- doubts


def doubts(call):
    """Return the warnings of a call, each of which must point at this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert all(Path(each.filename).name == Path(__file__).name for each in caught)
    return [str(each.message) for each in caught]


def refused_or_not(function, arrays):
    """Call a score that may refuse what it has doubted before, as DPM does where all predictions are alike."""
    with suppress(OodgridError):
        function(**arrays)


@pytest.mark.parametrize("name", NAMES)
def test_logits_on_the_scale_of_clip_are_doubted_where_a_temperature_is_on_cosines(name):
    function, given = getattr(scores, name), arrays_of(name)
    given.pop("train_logits", None) if "weights" in given else None
    assert doubts(lambda: function(**given)) == []
    warm = "T" in inspect.signature(function).parameters
    for argument in [each for each in given if each.endswith("logits")]:
        scaled = {**given, argument: 100 * np.asarray(given[argument])}
        lines = doubts(lambda scaled=scaled: refused_or_not(function, scaled))
        assert [f"score {name}: {argument} go up to" in line for line in lines] == [True] * warm


def test_a_method_answers_for_the_scale_of_its_logits(monkeypatch):
    class Probe:
        def arrays(self, features):
            return {"features": features, "logits": 30 * np.eye(4), "text_cosines": False}

    assert doubts(lambda: scores.all_scores(SAMPLES, method=Probe(), names=["mcm"])) == []
    assert len(doubts(lambda: scores.all_scores(logits=30 * np.eye(4), names=["mcm", "msp"]))) == 1


def test_classes_without_a_sample_are_doubted_where_the_classes_are_known():
    gap = np.where(LABELS == 1, 2, LABELS)
    assert doubts(lambda: scores.knn(SAMPLES, TRAIN, gap)) == []  # a class is no more than its samples there
    lines = doubts(lambda: scores.she(SAMPLES, np.eye(4)[:, :3], TRAIN, gap, train_logits=np.eye(3)[LABELS]))
    assert len(lines) == 1
    assert lines[0].startswith("score she: train_labels: 1 of 3 classes has no sample, the first is 1: ")


def test_names_that_do_not_exist_are_no_attributes():
    with pytest.raises(AttributeError, match="did you mean 'mcm'"):
        _ = scores.mmc
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = oodgrid.nothing
    assert not hasattr(scores, "__path_of_nothing__")


def test_dir_lists_what_there_is():
    assert set(NAMES) < set(dir(scores))
    assert set(dir(oodgrid)) == set(oodgrid.__all__)
    assert all(hasattr(oodgrid, name) for name in oodgrid.__all__)


# ------------------------------------------------------------------------------------------------- all scores


def test_all_scores_are_each_score_and_the_rest_has_a_reason():
    given = {name: ARRAYS[name] for name in ARRAYS if name not in ("logits", "val_logits", "train_logits")}
    found, skipped = scores.all_scores(
        **given, val_features=ARRAYS["train_features"], val_labels=ARRAYS["train_labels"]
    )
    assert set(NAMES) <= {*found, *skipped}  # other tests of this process may have registered scores of their own
    assert not set(found) & set(skipped)
    assert set(skipped) & set(NAMES) == {"clipn_atd", "clipn_ctw"}  # these want one text a class
    for name in set(NAMES) & set(found):
        np.testing.assert_allclose(found[name], getattr(scores, name)(**arrays_of(name)), rtol=1e-9, atol=1e-12)
    found, skipped = scores.all_scores(logits=ARRAYS["logits"])
    of_logits = {n for n, entry in registry.entries("score").items() if entry.needs == ("logits",)}
    assert set(found) & set(NAMES) == of_logits & set(NAMES)
    assert set(NAMES) <= {*found, *skipped}
    assert skipped["knn"] == "it needs features: give features"


def test_variants_are_named_as_in_results():
    found, _ = scores.all_scores(logits=ARRAYS["logits"], names=["mcm", {"name": "mcm", "T": 0.5}])
    assert list(found) == ["mcm", "mcm@T=0.5"]


def test_a_file_gives_features_and_patches(tmp_path, make_features):
    rng = np.random.default_rng(0)
    local = rng.normal(size=(6, 5, 4)).astype(np.float32)
    path = tmp_path / "test.h5"
    store.write_features(path, make_features(local_features=local))
    features, weights = oodgrid.read_features(path), rng.normal(size=(3, 4)) / 4
    found, _ = scores.all_scores(path, weights=weights, names=["gl_mcm", "mcm"])
    unit = local / np.linalg.norm(local.astype(np.float64), axis=2, keepdims=True)
    logits = (
        features.image_features / np.linalg.norm(features.image_features.astype(float), axis=1)[:, None] @ weights.T
    )
    np.testing.assert_allclose(found["gl_mcm"], scores.gl_mcm(logits, unit @ weights.T), rtol=1e-6)
    np.testing.assert_array_equal(found["mcm"], scores.all_scores(features, weights=weights, names=["mcm"])[0]["mcm"])
    for given in (path, str(path), features, features.image_features):
        alone = scores.nci(given, weights, path, features.labels)
        np.testing.assert_array_equal(alone, scores.nci(given, weights, features.image_features, features.labels))
    _, skipped = scores.all_scores(features, weights=weights, names=["gl_mcm"])
    assert skipped["gl_mcm"] == "it needs local_logits: give local_logits"


# --------------------------------------------------------------------------------------------------- metrics


def test_metrics_are_those_of_the_stage():
    rng = np.random.default_rng(0)
    id_scores, ood_scores = rng.normal(1, 1, 50).round(1), rng.normal(0, 1, 40).round(1)
    counts = count_scores(id_scores, ood_scores)
    row = metrics.all_metrics(id_scores, ood_scores)
    assert row == metrics_from_counts(counts) | intervals(counts)
    assert list(row) == ["n_id", "n_ood", *metrics.COLUMNS]
    for name in metrics_from_counts(counts):
        if not name.startswith("n_"):
            assert getattr(metrics, name)(id_scores, ood_scores) == row[name]
    table = metrics.table({"a": id_scores, "b": id_scores}, {"o": {"a": ood_scores}})
    assert table.rows(named=True) == [{"score": "a", "ood_dataset": "o", **row}]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: metrics.table({"a": [1.0]}, {"o": {"b": [1.0]}}), "no score of a is there for an OOD set too"),
        (lambda: metrics.table({"a": [1.0]}, {"o": {"a": [[1.0]]}}), "score a, OOD set o: OOD scores: shape (1, 1)"),
        (lambda: metrics.aupr_in([1.0], []), "OOD scores: shape (0,) holds nothing"),
    ],
)
def test_metrics_refuse_in_one_line(call, said):
    with pytest.raises(OodgridError) as caught:
        call()
    assert said in str(caught.value)


# ------------------------------------------------------------------------------------------ documentation that runs

PUBLIC = ("oodgrid", "oodgrid.cache", "oodgrid.estimates", "oodgrid.methods", "oodgrid.metrics", "oodgrid.scores",
          "oodgrid.scores.states")  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC)
def test_examples_of_a_module_run(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed


def make_cache(folder, make_features):
    """Write the files that docs/api.md reads, as `make run` does, smaller."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 16))
    for name, split, spread, size in (
        ("moonlit", "train", 0.3, 40), ("moonlit", "val", 0.3, 20), ("moonlit", "test", 0.3, 60),
        ("noise", "test", 3.0, 50),
    ):  # fmt: skip
        labels = np.arange(size, dtype=np.int32) % 4
        values = (centres[labels] * (name == "moonlit") + spread * rng.normal(size=(size, 16))).astype(np.float32)
        path = folder / "results" / "features" / "tiny" / name / f"{split}.h5"
        store.write_features(path, make_features(n=size, labels=labels, image_features=values))
    texts = (centres + 0.3 * rng.normal(size=(2, 4, 16))).astype(np.float32)
    written = store.Texts(texts, ["a", "b", "c", "d"], ["a {}", "the {}"], {"text": {}})
    store.write_texts(folder / "results" / "text" / "tiny" / "moonlit.h5", written)
    table = pl.DataFrame({"method": ["coop", "zero_shot"], "score": "mcm", "auroc": [0.8, 0.9]})
    store.write_table(folder / "results" / "demo" / "metrics.parquet", table)


@pytest.mark.parametrize(("page", "least"), [("docs/api.md", 30), ("README.md", 3)])
def test_examples_of_the_pages_run(tmp_path, monkeypatch, make_features, page, least):
    make_cache(tmp_path, make_features)
    monkeypatch.chdir(tmp_path)
    found = doctest.testfile(str(ROOT / page), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted >= least
    assert not found.failed


# ------------------------------------------------------------------------------------------------ without extras

WITHOUT_EXTRAS = """
import doctest, importlib, sys
from oodgrid.errors import EXTRAS, OodgridError

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRAS:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing())
import oodgrid
assert not {"numpy", "polars", "pydantic"} & set(sys.modules), "import oodgrid is not light"
for module in %r:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted and not found.failed, module

from oodgrid.cli import main
def run(*arguments, rc=0):
    assert main(list(arguments)) == rc, arguments

for what in ("scores", "methods", "datasets", "backbones", "label_lists"):
    run("list", what)
run("metrics", "--id", sys.argv[1] + "/id.npy", "--ood", sys.argv[1] + "/ood.npy")
run("inspect", sys.argv[1] + "/test.h5")
run("inspect", "results/clip-b32-features/metrics.parquet")
run("verify", sys.argv[1] + "/test.h5")
run("check", "experiments/clip-b32-features.yaml")
run("schema")
run("import", "npz", sys.argv[1] + "/mine.npz", "--backbone", "mine", "--dataset", "mine", "--split", "test",
    "--results", sys.argv[1])
run("export", sys.argv[1] + "/test.h5", sys.argv[1] + "/test.npz")
run("encode", "texts", "--config", "config.yaml", "--results", sys.argv[1], rc=1)
from oodgrid import methods
import numpy as np
try:
    methods.clip_adapter(np.eye(4), [0, 1, 2, 3], np.eye(4))
except OodgridError as error:
    print(error, file=sys.stderr)
assert not set(EXTRAS) & {name.partition(".")[0] for name in sys.modules}
"""


def test_the_package_without_extras(tmp_path, make_features):
    """Scores, metrics, tables and the verbs beside the stages run where neither torch nor Snakemake can be imported."""
    store.write_features(tmp_path / "test.h5", make_features())
    np.save(tmp_path / "id.npy", [3.0, 2.0])
    np.save(tmp_path / "ood.npy", [1.0, 2.5])
    np.savez(tmp_path / "mine.npz", image_features=np.eye(3, dtype=np.float32), labels=np.arange(3))
    code = WITHOUT_EXTRAS % (PUBLIC,)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "oodgrid: error: torch is not installed: pip install 'oodgrid[encode]'" in done.stderr
    assert "method clip_adapter: torch is not installed: pip install 'oodgrid[encode]'" in done.stderr


def test_extras_are_those_that_errors_name():
    import tomllib

    from oodgrid.errors import EXTRAS

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
    always = json.dumps(project["dependencies"])
    assert not [name for name in ("torch", "open_clip", "snakemake", "psutil") if name in always]
