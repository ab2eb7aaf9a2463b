"""Mistakes between the parts of an experiment, each of which may be sound by itself."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import yaml

from oodgrid import paths, registry, texts
from oodgrid.config import pseudo_ood_soundness
from oodgrid.config.grades import named_cell
from oodgrid.config.stream_soundness import of_streams
from oodgrid.counts import counted, some
from oodgrid.errors import OodgridError, unknown
from oodgrid.registry import ANY
from oodgrid.registry.banks import SHOTS, drawn_bank

if TYPE_CHECKING:
    from oodgrid.config.dataset import Dataset
    from oodgrid.config.experiment import Choice, Experiment, IdDataset

LONGEST_VARIANT = 200  # bytes of a variant's name, which files bear with .streams.parquet behind it
CLASSNAMES = "classnames"  # what `text` of an ID dataset says where texts stand for its classes
MOST_ROWS = 5_000_000


def of_id_dataset(dataset: IdDataset, left_out: set[str]) -> Iterator[str]:
    """Yield what does not fit together within an ID set and its OOD sets, one line each."""
    if "ood" not in left_out and not list(dataset.pairs()):
        yield f"ID dataset {dataset.name} has no OOD set: name one under ood: near, far or covariate"
    yield from _twice(f"OOD set of {dataset.name}:", [ood.name for _, ood in dataset.pairs()])
    for kind, ood in dataset.pairs():
        why = None if kind == "covariate" or dataset.allow_overlap else dataset.overlap_with(ood)
        if why:
            yield (
                f"OOD set {ood.name} overlaps ID set {dataset.name}: {why}. Take it out, or write "
                f"allow_overlap: true under {dataset.name} (tables will mark the pair)"
            )
    families = [views.family for views in dataset.views]
    if families and "train" not in dataset.split_names:
        yield f"ID dataset {dataset.name} has no training split to make views of"
    if dataset.train == "drawn" and (dataset.imported or "train" not in dataset.split_names):
        yield f"ID dataset {dataset.name} has no training split to encode: take train: drawn out"
    if dataset.train == "drawn" and dataset.thing == "pair":
        yield f"ID dataset {dataset.name}: of pairs the whole training split is encoded: take train: drawn out"
    if len(set(families)) < len(families):
        yield f"ID dataset {dataset.name} lists one family of views twice: take one out"
    yield from pseudo_ood_soundness.of_recipes(dataset)
    yield from _twice(f"pseudo_ood of {dataset.name}:", [recipe.name for recipe in dataset.pseudo_ood])


def of_experiment(experiment: Experiment, left_out: set[str]) -> Iterator[str]:
    """Yield what does not fit together in the grid, one line each."""
    yield from _names(experiment)
    yield from _meanings(experiment)
    yield from _size(experiment)
    if "backbones" not in left_out:
        yield from _texts(experiment)
    if "methods" not in left_out:
        yield from _parts(experiment)
    if not left_out & {"methods", "id_datasets"}:
        yield from _views(experiment)
        yield from pseudo_ood_soundness.of_methods(experiment)
    if not left_out & {"backbones", "id_datasets"}:
        yield from _samples(experiment)
    if not left_out & {"scores", "id_datasets"}:
        yield from _banks(experiment)
    if "scores" not in left_out and all(registry.find("score", s.name).transductive for s in experiment.scores):
        yield "every score is transductive, and tables and figures compare scores of single samples: list one, as mcm"
    yield from of_streams(experiment, left_out)
    if not left_out & {"methods", "scores", "report"}:
        yield from _curves(experiment)
    if experiment.temperatures and "scores" not in left_out and not any(map(swept, experiment.scores)):
        yield "temperatures: no listed score is a function of logits and a temperature alone, as mcm: list one"
    if experiment.grades and not left_out & {"grades", "scores"}:
        yield from _grades(experiment, left_out)
    if "label_lists" not in left_out:
        yield from _lists(experiment, left_out)
    if "id_datasets" not in left_out:
        yield from _freed(experiment)


def _grades(experiment: Experiment, left_out: set[str]) -> Iterator[str]:
    grades = experiment.grades
    assert grades is not None
    if grades.sets is not None:
        for axis in ("{semantic}", "{covariate}"):
            if grades.sets.count(axis) != 1:
                yield f"grades.sets: {grades.sets} has to hold {axis} once, as in cov_{{covariate}}_sem_{{semantic}}"
                return
        names = [ood.name for dataset in experiment.id_datasets for _, ood in dataset.pairs()]
        if re.search(r"}[0-9]*{", grades.sets):
            yield f"grades.sets: in {grades.sets} nothing tells where one level ends: put a letter between both"
        elif "id_datasets" not in left_out and not any(named_cell(name, grades.sets) for name in names):
            listed = some(sorted(set(names)), 3)
            yield f"grades.sets: no OOD set has a name as {grades.sets}, with levels up to 99: {listed}"
        return
    entries = {score.listed("score"): registry.find("score", score.name) for score in experiment.scores}
    for axis, name in (("semantic", grades.semantic), ("covariate", grades.covariate)):
        variants = [other for other, entry in entries.items() if entry.name == name]
        if name not in entries:
            known = f": write {' or '.join(variants)}, as it is listed" if variants else ": list it under scores"
            yield f"grades.{axis}: no score is listed as {name}{known}"
        elif not entries[name].on_features or entries[name].transductive:
            yield f"grades.{axis}: {name} depends on the method or on a stream, and an axis is of the sample alone"
    if grades.semantic == grades.covariate:
        yield f"grades: both axes are {grades.semantic}: name two scores"


def swept(score: Choice) -> bool:
    """Return whether `temperatures` apply to a score: it needs nothing but logits, and has a temperature T."""
    entry = registry.find("score", score.name)
    return entry.needs == ("logits",) and "T" in entry.params and not entry.transductive


def _names(experiment: Experiment) -> Iterator[str]:
    if experiment.experiment.lower() in paths.SHARED:
        yield f"{paths.RESULTS / experiment.experiment}/ belongs to all experiments: give this one another name"
    listed = {kind: [each.listed(kind) for each in getattr(experiment, f"{kind}s")] for kind in ("method", "score")}
    yield from _twice("backbone", [backbone.name for backbone in experiment.backbones])
    yield from _twice("ID dataset", [dataset.name for dataset in experiment.id_datasets])
    yield from _twice("method", listed["method"])
    yield from _twice("score", listed["score"])
    yield from _twice("label list", [label_list.name for label_list in experiment.label_lists])
    yield from _twice("shots", experiment.shots)
    yield from _twice("seed", experiment.seeds)
    yield from _twice("temperature", [f"{T:g}" for T in experiment.temperatures])
    yield from _alike("dataset", {dataset.name for dataset in experiment.datasets()})
    for name in listed["method"] + listed["score"]:
        if (size := len(name.encode())) > LONGEST_VARIANT:
            yield (
                f"{name[:40]}… is listed by a name of {counted(size, 'byte')}, and files bear {LONGEST_VARIANT} at most"
            )
    if ANY in listed["method"]:
        yield f"method {ANY}: results list scores that depend on no method by this name: give its file another name"


def _twice(what: str, names: list[Any]) -> Iterator[str]:
    """Yield the names that are listed twice, or that only some file systems tell apart."""
    yield from (f"{what} {name} is listed twice: take one out" for name, count in Counter(names).items() if count > 1)
    yield from _alike(what.removesuffix(":"), {name for name in names if isinstance(name, str)})


def _alike(what: str, names: set[str]) -> Iterator[str]:
    """Yield names that differ, and whose files could not lie beside each other everywhere."""
    first: dict[str, str] = {}
    for name in sorted(names):
        other = first.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            yield f"{what} {other} and {name} are one file on systems without case: give one another name"
    for suffix in filter(None, (paths.STREAMS, paths.SWEEP, *(source.suffix for source in texts.SOURCES))):
        for name in sorted(names):
            if name.endswith(suffix) and name.removesuffix(suffix) in names:
                yield f"{what} {name} is how files beside those of {name.removesuffix(suffix)} are called: rename it"


def _meanings(experiment: Experiment) -> Iterator[str]:
    meanings: dict[str, Dataset] = {}
    twice = set()
    for dataset in experiment.datasets():
        first = meanings.setdefault(dataset.name, dataset)
        if dataset.name not in twice and first is not dataset and first.identity != dataset.identity:
            twice.add(dataset.name)
            yield f"dataset {dataset.name} is described in two ways{_one_way(first, dataset)}"


def _banks(experiment: Experiment) -> Iterator[str]:
    """Yield why there are no samples for banks that scores name for themselves."""
    named = {score.listed("score"): score.params["bank"] for score in experiment.scores if "bank" in score.params}
    named = {name: bank for name, bank in named.items() if bank != SHOTS}
    of_draws = [dataset for dataset in experiment.id_datasets if dataset.train == "drawn"]
    for dataset, (name, bank) in product(of_draws, named.items()):
        drawn = drawn_bank(bank)
        if drawn is None:
            yield (
                f"bank: train of score {name} is the whole training split, and that of {dataset.name} is encoded for "
                "the draws alone: take train: drawn or bank: train out"
            )
        elif drawn.shots not in experiment.shots or drawn.seed not in experiment.seeds:
            yield (
                f"bank: {bank} of score {name} is none of the draws for which {dataset.name} is encoded: write "
                f"{drawn.shots} under shots and {drawn.seed} under seeds, or take train: drawn out"
            )


def _one_way(first: Dataset, other: Dataset) -> str:
    """Return how to describe a dataset alike in both places."""
    one, two = first.identity, other.identity
    differing = [key for key in {**one, **two} if one.get(key) != two.get(key)]
    if differing != ["imported"] or first.imported is None or other.imported is None:
        return f" ({', '.join(differing)}): write the same in both places, or give one another name"
    # who imported by hand writes `imported: {}`; where one of the two says more, that is meant
    full = max(first.imported, other.imported, key=lambda imported: len(imported.model_fields_set))
    entry = yaml.safe_dump(full.model_dump(exclude_defaults=True), default_flow_style=True, width=10_000).strip()
    return f": write imported: {entry} in both places, or give one another name"


def _size(experiment: Experiment) -> Iterator[str]:
    pairs = len(experiment.backbones) * sum(len(list(dataset.pairs())) for dataset in experiment.id_datasets)
    fits = (len(experiment.methods) + 1) * len(experiment.shots) * len(experiment.seeds)
    if (rows := pairs * fits * len(experiment.scores)) > MOST_ROWS:
        yield (
            f"the grid has up to {counted(rows, 'row')} of metrics, and {MOST_ROWS} are the most: make several "
            "experiments of it, "
            "or list fewer seeds, shots, scores or OOD sets"
        )


def _texts(experiment: Experiment) -> Iterator[str]:
    """Yield the backbones for which a dataset says what stands for its classes, and which are none or cannot."""
    names = [backbone.name for backbone in experiment.backbones]
    for dataset in experiment.id_datasets:
        for backbone in experiment.backbones:
            stands = dataset.text_under(backbone.name)
            wants_texts = stands == CLASSNAMES and "text" not in dataset.parts  # of such samples `_samples` speaks
            if wants_texts and not backbone.takes_texts and not dataset.imported:
                yield (
                    f"ID dataset {dataset.name}: backbone {backbone.name} has no text tower: write text: "
                    f"{{{backbone.name}: visual_prototypes}}, or own_head where it has a head"
                )
            if stands == texts.HEAD.stands and backbone.head is None:
                mend = "write head: {classes: …} under it" if backbone.conse is None else "list its classifier alone"
                yield (
                    f"ID dataset {dataset.name}, text: own_head: backbone {backbone.name} has no head: {mend}, or "
                    f"text: {{{backbone.name}: visual_prototypes}}"
                )
        for name in () if isinstance(dataset.text, str) else dataset.text:
            if name not in names:
                yield f"ID dataset {dataset.name}, text: {unknown('backbone of this experiment', name, names)}"


def _samples(experiment: Experiment) -> Iterator[str]:
    """Yield the pairs of a backbone and a dataset whose samples it cannot take."""
    datasets = list({dataset.name: dataset for dataset in experiment.datasets()}.values())
    texts = [dataset.name for dataset in datasets if "text" in dataset.parts]
    images = [dataset.name for dataset in datasets if "image" in dataset.parts]
    for backbone in experiment.backbones:
        if texts and not backbone.takes_texts:
            yield f"backbone {backbone.name} has no text tower, and the samples of {some(texts, 3)} are or have texts"
        if images and not backbone.takes_images:
            yield f"backbone {backbone.name} takes texts alone, and the samples of {some(images, 3)} are or have images"


def _views(experiment: Experiment) -> Iterator[str]:
    for dataset in experiment.id_datasets:
        families = [views.family for views in dataset.views]
        for method in experiment.methods:
            family = method.params.get("views")
            if family and not dataset.may_have_views:
                yield (
                    f"method {method.listed('method')} wants views, and the samples of {dataset.name} are "
                    f"{dataset.thing}s, which have none: list it without views"
                )
            elif family and family not in families and not dataset.imported:
                yield (
                    f"method {method.listed('method')} wants views that ID dataset {dataset.name} does not have: "
                    f"write views: [{{family: {family}}}] under it"
                )


def parts_of(method: Choice) -> tuple[str, ...]:
    """Return the other methods that a method combines, by the names that list them; none of most methods."""
    entry = registry.find("method", method.name)
    return (entry.params | method.params)["of"] if "parts" in entry.needs else ()


def _parts(experiment: Experiment) -> Iterator[str]:
    """Yield the parts of methods that combine others that are not listed, or that combine others themselves."""
    listed = {method.listed("method"): method for method in experiment.methods}
    single = [name for name, method in listed.items() if not parts_of(method)]
    for name, method in listed.items():
        for part in parts_of(method):
            if part in listed and part not in single:
                yield f"method {name}, of: {part} combines methods itself: name its parts"
            elif not single:
                yield f"method {name}, of: the experiment lists no method to combine: list {part} under methods, too"
            elif part not in listed:
                yield f"method {name}, of: {unknown('other method of this experiment', part, single)}"


def _curves(experiment: Experiment) -> Iterator[str]:
    """Yield why there will be no curves of the method and score that `report: curves` asks for."""
    asked = experiment.report.curves
    if asked is None:
        return
    single = [score for score in experiment.scores if not registry.find("score", score.name).transductive]
    on_features = {score.listed("score"): registry.find("score", score.name).on_features for score in single}
    methods = [method.listed("method") for method in experiment.methods] + [ANY] * any(on_features.values())
    if asked.method not in methods:
        yield f"report, curves: {unknown('method of this experiment', asked.method, methods)}"
        return
    entry = None if asked.method == ANY else registry.find("method", experiment.method(asked.method).name)
    changes = entry is not None and entry.changes_features
    scores = [name for name, features in on_features.items() if changes or features == (entry is None)]
    if asked.score is not None and asked.score not in scores:
        yield f"report, curves: {unknown(f'score of {asked.method} in this experiment', asked.score, scores)}"


def _lists(experiment: Experiment, left_out: set[str]) -> Iterator[str]:
    for score in experiment.scores:
        for parameter, name in experiment.lists_of(score).items():
            if not isinstance(name, str):
                yield (
                    f"score {score.name} needs a list of labels: write {{name: {score.name}, {parameter}: NAME}} "
                    "with the name of an entry under label_lists:, or of oodgrid list label_lists"
                )
                continue
            try:
                label_list = experiment.label_list(name)
            except OodgridError as error:
                yield f"score {score.name}, {parameter}: {error}"
                continue
            blind = [each.name for each in experiment.backbones if not each.takes_images]
            if label_list.noise_images and blind and "backbones" not in left_out:
                yield (
                    f"score {score.name}, {parameter}: {name} is of images, and backbone {blind[0]} takes texts alone: "
                    f"write {parameter}: with the name of a list of texts, or take {score.name} out"
                )


def _freed(experiment: Experiment) -> Iterator[str]:
    for label_list in experiment.label_lists:
        try:
            if label_list.classes_of:
                experiment.id_dataset(label_list.classes_of)
        except OodgridError as error:
            key = "drop_classes_of" if label_list.drop_classes_of else "joined_to"
            yield f"label list {label_list.name}, {key}: {error}"
