"""Every public function of docs/api.md against whatever is no argument of it: one line, and an OodgridError."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import oodgrid
from oodgrid import cache, methods, metrics, scores
from oodgrid.errors import OodgridError

NONSENSE = {
    "text": "x",
    "nothing": None,
    "empty list": [],
    "ragged": [[1], [1, 2]],
    "0-d": np.float64(1),
    "3-d": np.ones((2, 2, 2)),
    "4-d": np.ones((1, 2, 2, 2)),
    "empty": np.empty((0, 3)),
    "object": object(),
    "objects": np.array([object()]),
    "number": 3,
    "negative": -1,
    "nan": float("nan"),
    "infinite": float("inf"),
    "bool": True,
    "mapping": {"a": 1},
    "odd mapping": {1: 2},
    "bytes": b"x",
    "set": {1, 2},
    "type": int,
    "complex": np.ones((2, 2)) * 1j,
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "too large": np.full((6, 4), 1e300),
    "zeros": np.zeros((6, 4)),
}
RNG = np.random.default_rng(0)
FEATURES, LABELS, TEXTS = RNG.normal(size=(6, 4)), np.arange(6) % 2, RNG.normal(size=(2, 4))
ID, OOD = np.array([3.0, 2.0, 1.0]), np.array([1.5, 0.5])
FITTED = methods.prototype(FEATURES, LABELS)
LEARNED = ("prototype", "linear_probe", "lp_plus_plus", "tip_adapter")


def options_of(function):
    return {name: each.default for name, each in function.__signature__.parameters.items()
            if each.default is not each.empty}  # fmt: skip


def of_scores():
    for name in sorted(set(dir(scores)) - set(scores.__all__)):
        function = getattr(scores, name)
        count = sum(each.default is each.empty for each in function.__signature__.parameters.values())
        yield f"scores.{name}", function, [FEATURES] * count, options_of(function)


def of_metrics():
    for name in sorted(set(metrics.__all__) - {"COLUMNS", "table"}):
        yield f"metrics.{name}", getattr(metrics, name), [ID, OOD] + [0.9] * (name in ("fpr_id_pos", "fpr_ood_pos")), {}
    options = {"repeats": 5, "seed": 0, "recalls": []}
    yield "metrics.all_metrics", metrics.all_metrics, [ID, OOD], options
    yield "metrics.table", metrics.table, [{"a": ID}, {"o": {"a": OOD}}], options
    yield "metrics.table, a set", lambda ood: metrics.table({"a": ID}, {"o": ood}), [{"a": OOD}], {}


def of_methods():
    for name in LEARNED:
        function = getattr(methods, name)
        texts = [TEXTS] * ("text_features" in function.__signature__.parameters)
        yield f"methods.{name}", function, [FEATURES, LABELS, *texts], options_of(function)
    yield "methods.fit", methods.fit, ["prototype", FEATURES, LABELS], {}
    for name in ("logits", "predict", "transform", "arrays"):
        yield f"fitted.{name}", getattr(FITTED, name), [FEATURES], {}


def of_files():
    for name in ("read_features", "read_texts", "read_table"):
        yield f"cache.{name}", getattr(cache, name), ["x"], {}
    yield "Detector.load", oodgrid.Detector.load, ["x"], {}
    yield "cache.draw", cache.draw, [LABELS, LABELS, 2, 1, np.full(6, 2)], {}
    yield "cache.draw without val", cache.draw, [LABELS, None, 2, 1], {}


ALL = dict.fromkeys(("names", "method", "logits", "weights", "bias", "train_features", "train_labels", "train_logits",
                     "val_features", "val_labels", "val_logits", "negative_logits", "local_logits", "class_texts",
                     "prompt_variants", "shots", "labels", "agents"))  # fmt: skip
CALLS = [*of_scores(), *of_metrics(), *of_methods(), *of_files(), ("all_scores", scores.all_scores, [FEATURES], ALL)]


@pytest.mark.parametrize(("function", "arguments", "options"), [call[1:] for call in CALLS], ids=[c[0] for c in CALLS])
def test_nonsense_is_refused_in_one_line_or_makes_sense(function, arguments, options):
    def answer(what, *positional, **named):
        try:
            function(*positional, **named)
        except OodgridError as error:
            assert "\n" not in str(error), what
        except Exception as error:
            pytest.fail(f"{what}: {type(error).__name__}: {error}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind, nonsense in NONSENSE.items():
            for place in range(len(arguments)):
                answer(f"{kind} as argument {place}", *arguments[:place], nonsense, *arguments[place + 1 :])
            for name in options:
                answer(f"{kind} as {name}", *arguments, **{name: nonsense})


@pytest.mark.parametrize("factor", [1, 100])
@pytest.mark.parametrize("name", ["mcm", "msp", "energy"])
def test_logits_times_100_are_right_under_a_temperature_times_100_and_doubtful_under_any_other(name, factor):
    cosines = RNG.uniform(0.1, 0.35, (5, 3))
    function, default = getattr(scores, name), options_of(getattr(scores, name))["T"]
    expected = function(cosines)
    for times in (0.01, 1, 10, 100, 1000):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            values = function(factor * cosines, T=times * default)
        assert bool(caught) == (factor == 100 and times < 100), times
        if times == factor and name != "energy":
            np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_local_logits_of_other_patches_are_named():
    given = np.zeros((6, 2)), np.zeros((6, 2, 3)), np.zeros((6, 5, 2)), np.zeros((6, 4, 2, 3))
    with pytest.raises(
        OodgridError, match=r"local_negative_logits: shape \(6, 4, 2, 3\) where .* with P = 5 is needed"
    ):
        scores.gl_fa(*given)
