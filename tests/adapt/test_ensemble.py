"""A method that combines others: the mean of their softmaxes, the fits that meet, and what is refused."""

from __future__ import annotations

import math
from dataclasses import make_dataclass

import numpy as np
import pytest

from oodgrid import grid, manifests, methods, paths, plan, registry, store
from oodgrid.adapt.apply import apply
from oodgrid.adapt.combining import matching
from oodgrid.adapt.contract import Skip, normalise
from oodgrid.adapt.fit import fit
from oodgrid.detector import from_experiment
from oodgrid.detector.choosing import Chosen
from oodgrid.errors import OodgridError
from oodgrid.manifests import AppliedFit
from oodgrid.score.run import score
from tests.failing import failure

PROBE = {"name": "linear_probe", "C": 25.0}  # listed as linear_probe@C=25
TIP = {"name": "tip_adapter", "alpha": 1.0, "beta": 2.0}  # leaves logits
ADAPTER = {"name": "clip_adapter", "epochs": 2}  # changes features
NAMES = ("zero_shot", "linear_probe@C=25", "tip_adapter@alpha=1,beta=2", "clip_adapter@epochs=2")
PARTS = ("zero_shot", PROBE, TIP, ADAPTER)


def softmax(values):
    shares = [math.exp(value - max(values)) for value in values]
    return [share / math.fsum(shares) for share in shares]


def run(mini, experiment):
    """Fit and apply every method, those that combine others last; return the manifests by name."""
    applied = {}
    names = sorted(grid.methods(experiment), key=lambda name: len(grid.parts(experiment, name)))
    for name in (name for name in names if name != "any"):
        fit(mini.results, experiment, "mini", "pets", name)
        applied[name] = manifests.read(apply(mini.results, experiment, "mini", "pets", name), manifests.Applied)
    return applied


def scored(mini, experiment, name):
    table, about = manifests.read_table(score(mini.results, experiment, "mini", "pets", name), manifests.ScoreTable)
    return table, about


def logits_of(mini, applied, fit_, name, features):
    """The logits of a part by hand, sample by sample."""
    left = {} if name not in fit_.sets else store.read_arrays(mini.results / fit_.sets[name])[0]
    if "logits" in left:
        return left["logits"].astype(np.float64)
    head = store.read_arrays(mini.results / fit_.classifier)[0]
    x = normalise(left.get("features", features).astype(np.float64))
    return x @ head["prototypes"].astype(np.float64).T + head.get("bias", 0)


def test_it_is_the_mean_of_the_softmaxes_of_methods_of_each_kind(mini):
    experiment = mini.experiment(*PARTS, {"name": "ensemble", "of": list(NAMES)}, shots=(2, 4), seeds=(1, 2))
    name = "ensemble@of=" + "+".join(sorted(NAMES)).replace("@", "-").replace("=", "-").replace(",", "-")
    assert name in grid.methods(experiment)
    applied = run(mini, experiment)
    assert [(each.shots, each.seed) for each in applied[name].fits] == [(2, 1), (2, 2), (4, 1), (4, 2)]
    for each in applied[name].fits:
        parts = matching({part: applied[part].fits for part in NAMES}, each.shots, each.seed)
        assert (parts["zero_shot"].shots, parts[NAMES[1]].shots) == (0, each.shots)
        for of_set in ("pets", "cars"):
            features = mini.read(of_set).image_features
            logits = [logits_of(mini, applied[part], found, of_set, features) for part, found in parts.items()]
            chances = [[softmax([100 * value for value in row]) for row in part.tolist()] for part in logits]
            expected = np.mean(chances, axis=0)
            left = store.read_arrays(mini.results / each.sets[of_set])[0]["logits"]
            np.testing.assert_allclose(np.exp(100 * left.astype(np.float64)), expected, rtol=2e-6, atol=1e-30)
        val = store.read_arrays(mini.results / each.val)[0]
        assert val["logits"].shape == (len(val["labels"]), 4)


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
def test_of_one_part_it_is_this_part(mini, part):
    """MSP, entropy and predictions to the rounding of float32, in which an ensemble's logits are stored."""
    [own] = [name for name, choice in zip(NAMES, PARTS, strict=True) if choice is part]
    experiment = mini.experiment(part, {"name": "ensemble", "of": [own]}, scores=["msp", "entropy", "energy", "knn"])
    run(mini, experiment)
    [name] = [each for each in grid.methods(experiment) if grid.parts(experiment, each)]
    (of_part, _), (of_all, about) = scored(mini, experiment, own), scored(mini, experiment, name)
    for each in ("msp", "entropy"):
        np.testing.assert_allclose(of_all[each], of_part[each], rtol=2e-6, atol=1e-9)
    assert of_all["prediction"].equals(of_part["prediction"])
    assert of_all["energy"].null_count() == len(of_all)
    [fit_] = about.fits
    assert "energy of every sample is 0" in fit_.skipped["energy"]


def test_the_order_of_the_parts_decides_nothing(mini):
    names = []
    for of in (NAMES, NAMES[::-1], NAMES[2:] + NAMES[:2]):
        experiment = mini.experiment(*PARTS, {"name": "ensemble", "of": list(of)})
        applied = run(mini, experiment)
        names.append([applied[each].fits[0].files for each in applied if each.startswith("ensemble")])
    assert names[0] == names[1] == names[2]
    combine = registry.find("method", "ensemble").make(of=("a",)).combine
    extreme = np.array([[0.0, -1e4, 50.0]])  # whose softmax has zeros: logits stay finite
    assert np.isfinite(combine([extreme, extreme])).all()


def test_without_a_part_that_learns_there_is_one_fit(mini):
    experiment = mini.experiment("zero_shot", {"name": "ensemble", "of": ["zero_shot"]}, shots=(2, 4))
    [name] = [each for each in grid.methods(experiment) if grid.parts(experiment, each)]
    assert grid.fits(experiment, name) == [grid.Fit(name, 0, 0)]
    assert [(each.shots, each.status) for each in run(mini, experiment)[name].fits] == [(0, "ok")]


def test_a_part_that_was_skipped_leaves_no_ensemble(mini):
    experiment = mini.experiment("zero_shot", "linear_probe", "ensemble", shots=(2, 11))  # of 10 images a class
    fits = run(mini, experiment)["ensemble"].fits
    parts = {name: [AppliedFit(shots=0, seed=0, status="failed", reason="the loss became nan")] for name in "a"}
    with pytest.raises(Skip, match="its part a is failed: the loss became nan"):
        matching(parts, 2, 1)
    with pytest.raises(OodgridError, match="b has no fit of 2 shots and seed 1: run oodgrid adapt fit --method b"):
        matching({"b": []}, 2, 1)
    assert fits[0].status == "ok"


def test_what_is_fitted_again_is_combined_again(mini):
    files = []
    for C in (25.0, 2.5):
        experiment = mini.experiment({**PROBE, "C": C}, {"name": "ensemble", "of": [f"linear_probe@C={C:g}"]})
        applied = run(mini, experiment)
        files.append([each.fits[0].files for name, each in applied.items() if name.startswith("ensemble")])
    assert files[0] != files[1]


def test_a_part_that_is_not_applied_to_a_set_is_named_and_one_applied_otherwise_is_combined_again(mini):
    experiment = mini.experiment(TIP, {"name": "ensemble", "of": [NAMES[2]]})
    place, applied = (mini.results, experiment, "mini", "pets"), run(mini, experiment)
    [name] = [each for each in grid.methods(experiment) if grid.parts(experiment, each)]
    path, [of_tip] = paths.applied(mini.results, "mini", "mini", "pets", NAMES[2]), applied[NAMES[2]].fits

    def with_sets(sets):
        changed = [of_tip.model_copy(update={"sets": sets})]
        manifests.write(path, applied[NAMES[2]].model_copy(update={"fits": changed}))

    with_sets({"pets": of_tip.sets["pets"]})  # as before cars became one of its OOD sets
    line = failure(apply, *place, name)
    assert line == f"{NAMES[2]} is not applied to cars: run oodgrid adapt apply --method {NAMES[2]}"
    other = mini.results / "kept" / "apply" / "other.safetensors"
    store.write_arrays(other, {"logits": np.zeros((8, 4), np.float32), "labels": mini.read("cars").labels})
    with_sets({**of_tip.sets, "cars": "kept/apply/other.safetensors"})
    [again] = manifests.read(apply(*place, name), manifests.Applied).fits
    [first] = applied[name].fits
    assert again.sets["pets"] == first.sets["pets"]
    assert again.sets["cars"] != first.sets["cars"]
    assert again.val == first.val


def test_what_tables_must_say_of_a_part_they_say_of_the_ensemble(mini):
    experiment = mini.experiment("tip_adapter", "zero_shot", {"name": "ensemble", "of": ["tip_adapter", "zero_shot"]})
    applied = run(mini, experiment)
    [of_part], [of_all] = applied["tip_adapter"].fits, applied["ensemble@of=tip_adapter+zero_shot"].fits
    assert of_part.reason, "no value that it chose lies at an end of its grid any more: take another part"
    assert of_all.reason == "; ".join(f"{remark} (tip_adapter)" for remark in of_part.reason.split("; "))


def test_jobs_of_an_ensemble_read_what_their_parts_left(mini):
    experiment = mini.experiment("zero_shot", "linear_probe", "ensemble")
    place = (mini.results, experiment, "mini", "pets")
    places = [(mini.results, "mini", "mini", "pets", part) for part in ("linear_probe", "zero_shot")]
    assert plan.fitted_parts(*place, "ensemble") == [paths.fitted(*each) for each in places]
    assert plan.applied_parts(*place, "ensemble") == [paths.applied(*each) for each in places]
    assert plan.fitted_parts(*place, "zero_shot") == plan.applied_parts(*place, "any") == []


@pytest.mark.parametrize(
    ("listed", "line"),
    [
        (["zero_shot", "ensemble"], "method ensemble, of: unknown other method of this experiment 'linear_probe'"),
        (["zero_shot", {"name": "ensemble", "of": ["zero-shot"]}], "did you mean 'zero_shot'"),
        (
            [{"name": "ensemble", "of": ["zero_shot"]}],
            "of: the experiment lists no method to combine: list zero_shot under methods, too",
        ),
        (["zero_shot", {"name": "ensemble", "of": []}], "of names no part"),
        (["zero_shot", {"name": "ensemble", "of": ["zero_shot", "zero_shot"]}], "of names zero_shot twice"),
        (["zero_shot", {"name": "ensemble", "of": "zero_shot"}], "does not fit: a list, as [a, b], is wanted"),
        (["zero_shot", {"name": "ensemble", "of": [3]}], "does not fit"),
        (["zero_shot", {"name": "ensemble", "of": ["any"]}], "unknown other method of this experiment 'any'"),
        (["zero_shot", {"name": "ensemble", "of": ["zero_shot"], "T": 0}], "T = 0 does not fit"),
        (
            ["zero_shot", *({"name": "ensemble", "of": [each]} for each in ("zero_shot", "ensemble@of=zero_shot"))],
            "of: ensemble@of=zero_shot combines methods itself: name its parts",
        ),
        (["zero_shot", *[{"name": "ensemble", "of": ["zero_shot"]}] * 2], "ensemble@of=zero_shot is listed twice"),
    ],
)  # fmt: skip
def test_parts_that_are_none_are_refused_in_one_line(mini, listed, line):
    assert line in failure(lambda: mini.experiment(*listed))


@pytest.mark.parametrize("missing", ["of", "combine", "leaves"])
def test_a_method_of_one_s_own_that_combines_says_how(monkeypatch, missing):
    monkeypatch.setattr(registry, "_ENTRIES", {kind: dict(registry.entries(kind)) for kind in registry.PACKAGES})
    fields = [] if missing == "of" else [("of", tuple[str, ...], ("zero_shot",))]
    own = {"__module__": "mine.vote"} | ({} if missing == "combine" else {"combine": lambda self, parts: parts[0]})
    made = make_dataclass("Vote", fields, namespace=own)
    leaves = "features" if missing == "leaves" else "logits"
    assert "those that its parameter of names" in failure(registry.method(leaves=leaves, needs=("parts",)), made)


def test_what_is_no_function_of_an_image_is_no_detector_and_no_function_of_arrays(mini):
    experiment = mini.experiment("zero_shot", {"name": "ensemble", "of": ["zero_shot"]})
    chosen = Chosen("mini", "pets", "ensemble@of=zero_shot", experiment.scores[0], 0, 0)
    run(mini, experiment)
    assert "combines what other methods left" in failure(from_experiment, mini.results, experiment, chosen)
    assert "take the mean of their softmaxes" in failure(methods.ensemble)
