"""Whoever has ImageNet sees in one command what reproduces: which published value meets which row of an experiment.

No ImageNet is here, so metrics.parquet is made up: every row of an experiment's grid, of sets as large as they are,
with a number of its own in every cell. What `compared` then takes is held against a plain search, written without it.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from functools import cache
from itertools import product
from pathlib import Path

import polars as pl
import pytest

from oodgrid import config, grid, manifests, paths, registry
from oodgrid.catalogue import real
from oodgrid.cli import main
from oodgrid.config import ANY
from oodgrid.encode.text_lists import read_text_list
from oodgrid.evaluate.run import METRICS
from oodgrid.published import Ours, catalogued, compared
from oodgrid.published.form import FPR95

ROOT = Path(__file__).resolve().parents[1]
FILES = {path.stem: path for path in sorted((ROOT / "experiments").glob("*.yaml"))}
CLASSES = ROOT / "src" / "oodgrid" / "catalogue" / "real_sets" / "classes"
WORDS = (ROOT / os.environ.get("OODGRID_SHARED", "../shared")).resolve() / "data" / "labels" / "neglabel" / "txtfiles"
DOCS = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
MEASURED = ("auroc", *FPR95, "aupr_in")
OURS = {  # what the catalogue calls a published set, where the two names differ
    "imagenet-45k": "imagenet-openood",
    "openimage-o": "openimage-o-openood",
    "dtd-split": "dtd",
}
BASE = 0.98  # near no published number, nor any taken for a percentage


@cache
def experiment_of(name):
    return config.load(FILES[name])


def size(dataset):
    """How many test images a dataset has; of one that the catalogue does not know, ten."""
    return real.real_set(dataset.real_name).splits["test"] if dataset.root and not dataset.classes else 10


def made_up(experiment, base=BASE, **changed):
    """metrics.parquet of an experiment, with a number of its own in every cell and accuracy by fit."""
    sizes = {dataset.name: size(dataset) for dataset in experiment.datasets()}
    scores = {score.listed("score"): score for score in experiment.scores}
    kinds = {(one.name, ood.name): kind for one in experiment.id_datasets for kind, ood in one.pairs()}
    methods = {choice.listed("method"): choice.name for choice in experiment.methods}
    local = {backbone.name for backbone in experiment.backbones if backbone.local_features}
    accuracy, rows = {}, []
    for number, (backbone, id_dataset, method, shots, seed, score, ood) in enumerate(grid.rows(experiment)):
        base_score = scores[score].name
        params = registry.find("score", base_score).params | scores[score].params
        fit = (backbone, id_dataset, method, shots, seed)
        is_skipped = of_patches(base_score) and backbone not in local
        cells = {
            metric: None if is_skipped else base + (len(MEASURED) * number + place) * 1e-8
            for place, metric in enumerate(MEASURED)
        }
        rows.append(
            {"experiment": experiment.experiment, "backbone": backbone, "id_dataset": id_dataset, "ood_dataset": ood,
             "ood_kind": kinds[id_dataset, ood], "method": method, "base_method": methods.get(method, method),
             "shots": shots, "seed": seed, "score": score, "base_score": base_score, "params": json.dumps(params),
             "status": "skipped" if is_skipped else "ok", "n_id": sizes[id_dataset], "n_ood": sizes[ood],
             "id_accuracy": accuracy.setdefault(fit, base + len(accuracy) * 1e-8), **cells, **changed}
        )  # fmt: skip
    return pl.DataFrame(rows, schema=METRICS, strict=False)


def of_patches(score):
    return any(need.startswith("local") for need in registry.find("score", score).needs)


# ---------------------------------------------------------------------------------------------- the plain search


def full(kind, choice):
    """All parameters of a method or score but the seed of a stream's order."""
    known = registry.find(kind, choice.name).params
    return {key: str(value) for key, value in {**known, **choice.params}.items() if key != "order"}


def same_choice(kind, theirs, ours):
    if theirs.name != ours.name:
        return False
    stated = registry.check_params(kind, theirs.name, theirs.params)
    known = {key: str(value) for key, value in {**registry.find(kind, theirs.name).params, **stated}.items()}
    return {key: value for key, value in known.items() if key != "order"} == full(kind, ours)


def same_encoder(theirs, ours):
    if (ours.model.removesuffix("-quickgelu"), ours.pretrained) != (theirs.model, theirs.pretrained):
        return False
    interpolation, resize = ours.interpolation or "bicubic", ours.resize or ours.size or 224
    return theirs.interpolation in (None, interpolation) and theirs.resize in (None, resize)


def same_sets(value, ours):
    """Our names of the OOD sets of a value, or None."""
    wanted, by_name = value.setting, {ood.real_name: ood for _, ood in ours.pairs()}
    oods = [by_name.get(OURS.get(name, name)) for name in value.oods]
    if OURS.get(wanted.id, wanted.id) != ours.real_name or ours.classes or ours.limit or None in oods:
        return None
    if isinstance(wanted.prompt, list) and (set(wanted.prompt) != set(ours.templates) or ours.text != "classnames"):
        return None
    fits = size(ours) == value.n_id and ours.leaky_selection_on_test == wanted.leaky_selection_on_test
    fits = fits and [size(ood) for ood in oods] == [its.count for its in value.oods.values()]
    return [ood.name for ood in oods] if fits else None


def meant(value, experiment):
    """Every (backbone, ID set, OOD sets, method, shots, scores) whose setting is that of a value."""
    if value.metric == "fpr95_unstated":
        return []
    wanted, of_id = value.setting, value.metric == "id_accuracy"
    found = []
    for backbone, id_dataset, listed in product(experiment.backbones, experiment.id_datasets, grid.methods(experiment)):
        oods = same_sets(value, id_dataset)
        if oods is None or not same_encoder(wanted.backbone, backbone):
            continue
        scores = [
            score
            for score in grid.scores(experiment, listed)
            if of_id or (wanted.score and same_choice("score", wanted.score, score))
        ]
        scores = [score for score in scores if backbone.local_features or of_id or not of_patches(score.name)]
        if listed == ANY:  # scores of image features: of the encoder as it is, and with a bank of their own of no shots
            if of_id or wanted.method.name != "zero_shot":
                continue
        elif not same_choice("method", wanted.method, experiment.method(listed)):
            continue
        for shots in sorted({fit.shots for fit in grid.fits(experiment, listed)}):
            own = listed == ANY and bool(scores) and scores[0].params.get("bank", "shots") != "shots"
            if scores and (shots == wanted.shots or own):
                names = [score.listed("score") for score in scores]
                found.append((backbone.name, id_dataset.name, oods, listed, shots, names))
    return found


def number_of(value, frame, place):
    """The mean over seeds and orders of every OOD set, and then over these; of accuracy, over the fits."""
    backbone, id_dataset, oods, method, shots, scores = place
    those = frame.filter(
        pl.col("backbone") == backbone, pl.col("id_dataset") == id_dataset, pl.col("method") == method,
        pl.col("shots") == shots,
    )  # fmt: skip
    if value.metric == "id_accuracy":
        return those.unique("seed")[value.metric].mean()
    those = those.filter(pl.col("score").is_in(scores))
    means = [those.filter(pl.col("ood_dataset") == ood)[value.metric].mean() for ood in oods]
    return sum(means) / len(means)


def of_real_sets(name):
    return all(one.root for one in experiment_of(name).id_datasets)


REAL = [name for name in FILES if of_real_sets(name)]


@cache
def matched(name):
    """The published values that the plain search finds a row for, with their rows."""
    experiment = experiment_of(name)
    return [(value, places) for value in catalogued() if (places := meant(value, experiment))]


def counted(name):
    return dict(Counter(value.source for value, _ in matched(name)))


# -------------------------------------------------------------------------------------------------------- wiring


@pytest.mark.parametrize("name", REAL)
def test_every_value_that_an_experiment_is_for_meets_its_row_and_no_other_does(name):
    experiment, frame = experiment_of(name), made_up(experiment_of(name))
    wanted = {value.key: places for value, places in matched(name)}
    for each in compared(catalogued(), Ours(frame, None, experiment)):
        places = wanted.get(each.value.key)
        if places is None:
            assert each.reasons, (each.value.source, each.value.oods, each.row)
            continue
        assert not each.reasons, (each.value.source, each.value.setting.score, list(map(str, each.reasons)))
        assert len(places) == 1 or each.unchecked, "two rows fit what a source states in full"
        assert any(abs(each.ours - number_of(each.value, frame, place)) < 1e-12 for place in places)


@pytest.mark.parametrize("name", [name for name in REAL if matched(name)])
def test_numbers_as_published_are_within_tolerance(name):
    """Source by source: with their own numbers of single sets in our cells, all of them agree, means too."""
    experiment, frame = experiment_of(name), made_up(experiment_of(name), base=0.5)
    for source in counted(name):
        ours = frame
        values = [(value, places) for value, places in matched(name) if value.source == source]
        for value, places in values:
            if len(value.oods) != 1:
                continue
            for backbone, id_dataset, oods, method, shots, scores in places:
                here = (
                    (pl.col("backbone") == backbone) & (pl.col("id_dataset") == id_dataset)
                    & (pl.col("method") == method) & (pl.col("shots") == shots)
                    & pl.col("score").is_in(scores) & (pl.col("ood_dataset") == oods[0])
                )  # fmt: skip
                cell = pl.when(here).then(value.number).otherwise(pl.col(value.metric)).alias(value.metric)
                ours = ours.with_columns(cell)
        told = {value.oods and next(iter(value.oods)) for value, _ in values if len(value.oods) == 1}
        of_sets = [value for value, _ in values if value.oods and set(value.oods) <= told]
        for each in compared(of_sets, Ours(ours, None, experiment)):
            lacking = each.value.setting.score, list(each.value.oods), each.value.metric
            known = any(value.metric == each.value.metric and set(value.oods) < set(each.value.oods)
                        and value.setting == each.value.setting for value, _ in values)  # fmt: skip
            if len(each.value.oods) == 1 or known:
                assert each.verdict == "within tolerance", (source, lacking, each.ours, each.value.number)


@pytest.mark.parametrize("name", [name for name in REAL if matched(name)])
def test_another_size_prompt_or_resizing_is_refused(name):
    raw = experiment_of(name)
    for frame, what in ((made_up(raw, n_id=44_999), "n_id"), (made_up(raw, n_ood=9_999), "n_ood")):
        those = compared([value for value, _ in matched(name)], Ours(frame, None, raw))
        those = [each for each in those if each.value.oods or what == "n_id"]
        assert all(what in {reason.what for reason in each.reasons} for each in those)
    stated = [value for value, _ in matched(name) if isinstance(value.setting.prompt, list)]
    sets = [one.model_copy(update={"templates": ["a picture of a {}"]}) for one in raw.id_datasets]
    other = raw.model_copy(update={"id_datasets": sets})
    assert all("prompt" in {reason.what for reason in one.reasons}
               for one in compared(stated, Ours(made_up(raw), None, other)))  # fmt: skip
    stated = [value for value, _ in matched(name) if value.setting.backbone.resize]
    backbones = [one.model_copy(update={"resize": 300}) for one in raw.backbones]
    other = raw.model_copy(update={"backbones": backbones})
    assert all("preprocessing" in {reason.what for reason in one.reasons}
               for one in compared(stated, Ours(made_up(raw), None, other)))  # fmt: skip


@pytest.mark.parametrize("name", [name for name in REAL if matched(name)])
def test_the_other_convention_is_refused(name):
    """Where theirs agrees with ours under another rule for FPR95 alone, no verdict is given."""
    experiment = experiment_of(name)
    rates = [(value, places) for value, places in matched(name) if value.metric in FPR95 and value.number < 0.6]
    for value, _ in rates[:: max(1, len(rates) // 4)]:
        others = {metric: value.number for metric in FPR95 if metric != value.metric}
        frame = made_up(experiment, **others, **{value.metric: value.number + 0.3})
        (each,) = compared([value], Ours(frame, None, experiment))
        assert [reason.what for reason in each.reasons] == ["convention"]


@pytest.mark.parametrize("name", ["openood-vlm-streams", "imagenet-far-near"])
def test_one_command_shows_them_all(name, tmp_path, monkeypatch, capsys):
    """`oodgrid compare NAME`: the catalogue's own file says what was run."""
    monkeypatch.chdir(ROOT)
    file = paths.metrics(tmp_path, name)
    manifests.write_table(file, made_up(experiment_of(name)), manifests.Metrics(overlaps=[]))
    assert main(["compare", name, "--results", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["settings"] == f"experiments/{name}.yaml"
    shown = Counter(each["source"] for each in said["values"] if each["verdict"] != "not comparable")
    assert shown == counted(name)
    means = [each for each in said["values"] if each["verdict"] != "not comparable" and len(each["row_ood"]) > 1]
    assert {each["metric"] for each in means} >= {"auroc", "fpr95_ood_pos", "fpr95_id_pos"}


@pytest.mark.skipif(not WORDS.is_dir(), reason=f"NegLabel's word lists are not here: {WORDS} (set OODGRID_SHARED)")
def test_words_and_share_are_those_of_openood_vlm():
    """Its own reading of the files: sets without the class names as written, and what is both is a noun."""
    read = {kind: set[str]() for kind in ("noun", "adj")}
    for file in WORDS.glob("*.txt"):
        read[file.stem.split(".")[0]] |= set(file.read_text(encoding="utf-8").split("\n")[:-1])
    classes = set((CLASSES / "imagenet-openai.txt").read_text(encoding="utf-8").splitlines())
    nouns, adjectives = read["noun"] - classes, read["adj"] - classes - read["noun"]
    assert (len(adjectives), len(nouns)) == (11_453, 58_101)
    (entry,) = experiment_of("openood-vlm").label_lists
    entry = entry.model_copy(update={"lexicographer": entry.lexicographer.model_copy(update={"folder": str(WORDS)})})
    table = read_text_list(entry, real.class_keys("imagenet").values())
    kinds = {
        kind: {word for word, its in zip(table.names, table.kinds, strict=True) if its == kind}
        for kind in set(table.kinds)
    }
    assert kinds["adjective"] == adjectives
    assert kinds["noun"] < nouns
    assert len(nouns - kinds["noun"]) == 17  # dalmatian, ipod, … which it keeps beside Dalmatian and iPod
    (keep,) = {score.params["keep"] for score in experiment_of("openood-vlm").scores if "keep" in score.params}
    mined = {kind: int(len(words) * keep) for kind, words in kinds.items()}
    assert mined == {"noun": 8_354, "adjective": 1_647}  # theirs: 8,354 and 1,646; 100 groups leave one out


# ---------------------------------------------------------------------------------------------------- the numbers


def test_a_mean_over_sets_is_that_of_its_sets():
    """Of what is printed; else a number was mistyped. An average is rounded, and so is all that it is made of."""
    values = catalogued()
    single = {(v.source, str(v.setting), v.n_id, *v.oods, v.metric): v for v in values if len(v.oods) == 1}
    seen = 0
    for value in values:
        if len(value.oods) < 2:
            continue
        parts = [single.get((value.source, str(value.setting), value.n_id, ood, value.metric)) for ood in value.oods]
        if None in parts:
            continue
        seen += 1
        mean = sum(part.number for part in parts) / len(parts)
        assert abs(mean - value.number) < ROUGH.get(value.source, 0.00016), (value, mean)
    assert seen > 100


ROUGH = {"gallop": 0.001, "mood": 0.001, "mood-small-sets": 0.001, "ants": 0.0003}  # one decimal; 11.20 for 11.175


# ----------------------------------------------------------------------------------------------------------- docs


def table(title):
    """The rows of the table of docs/compare.md below a heading."""
    part = DOCS.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_docs_say_which_experiment_meets_which_source():
    said = {name.strip("`"): sources for name, sources in table("What is met by what") if not name.startswith("none")}
    found = {name: counted(name) for name in REAL if counted(name)}
    assert set(said) == set(found)
    for name, sources in said.items():
        assert {key: int(count) for key, count in re.findall(r"`([a-z0-9-]+)` (\d+)", sources)} == found[name], name


def test_docs_say_of_every_source_that_is_met_nowhere_why():
    met = {source for name in REAL for source in counted(name)} | {"setar-mcm"}
    said = {key for cell, _ in table("What is met by nothing") for key in re.findall(r"`([a-z0-9-]+)`", cell)}
    assert said == {value.source for value in catalogued()} - met
