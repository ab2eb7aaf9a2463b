"""The five stages, each for all of an experiment or for one part of it.

The experiment is checked before a stage is imported, which takes a second or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from oodgrid.cli.common import chosen, experiment_of, say
from oodgrid.errors import OodgridError
from oodgrid.texts import CLASSES, HEAD, LABELS, SOURCES, TextSource

if TYPE_CHECKING:
    from oodgrid.config import Backbone, Experiment, IdDataset, LabelList


def run_encode(options: argparse.Namespace) -> None:
    """Encode images, texts, augmented views, corrupted images or pseudo-OOD texts."""
    from oodgrid.plan import check_identities

    experiment = experiment_of(options)
    check_identities(options.results, experiment)  # another experiment may mean something else by the same name
    parts = {"images": _encode_images, "drawn": _encode_drawn, "texts": _encode_texts, "views": _encode_views}
    parts |= {"pseudo-ood": _encode_pseudo_ood, "corrupted": _encode_corrupted}
    encode = parts[options.part]
    for backbone in chosen(options.backbone, experiment.backbones, experiment.backbone):
        encode(options, experiment, backbone)


def _encode_images(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid import manifests, rates, store
    from oodgrid.encode.images import encode_images
    from oodgrid.encode.work import Shard

    encoded = [d for d in experiment.datasets() if not d.imported]
    datasets = {d.name: d for d in chosen(options.dataset, encoded, experiment.dataset)}
    for dataset in datasets.values():
        where = f"{backbone.name}/{dataset.name}"
        with rates.measured(options.results, "encode", backbone.name, where) as work:
            files = encode_images(options.results, backbone, dataset, Shard.parse(options.shard))
            work.units = sum(len(store.read_labels(file)[0]) for file in files)
            work.bytes = sum(file.stat().st_size for file in files)
        say(*files)
    if options.manifest:
        manifests.write(options.manifest, manifests.Shard(shard=options.shard, datasets=list(datasets)))


def _encode_drawn(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid import plan, rates, store
    from oodgrid.encode.drawn import encode_drawn

    names = [options.dataset] if options.dataset else plan.drawn(experiment)
    if not names:
        raise OodgridError(
            "no ID dataset of this experiment is encoded for its draws alone: write train: drawn under it"
        )
    for name in names:
        with rates.measured(options.results, "encode", backbone.name, f"{backbone.name}/{name}") as work:
            file = encode_drawn(options.results, backbone, experiment.id_dataset(name))
            work.units, work.bytes = len(store.read_labels(file)[0]), file.stat().st_size
        say(file)


def _encode_texts(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid.config import LabelList
    from oodgrid.encode.heads import encode_head
    from oodgrid.encode.texts import encode_text_list, encode_texts

    for source, entry in _chosen_texts(options, experiment, backbone):
        if isinstance(entry, LabelList):
            say(encode_text_list(options.results, experiment, backbone, entry))
        elif source is HEAD:
            say(encode_head(options.results, backbone, entry))
        else:
            say(encode_texts(options.results, backbone, entry, source))


def _chosen_texts(
    options: argparse.Namespace, experiment: Experiment, backbone: Backbone
) -> list[tuple[TextSource, IdDataset | LabelList]]:
    """Return which kinds of texts to encode of which entries: those named, or else all that fits and scores read."""
    from oodgrid import plan

    if not (options.dataset or options.label_list or options.kind):
        files = plan.text_files(options.results, experiment, backbone.name)
        return [(file.source, file.entry) for file in files if file.is_encoded]
    kind = options.kind or (CLASSES.kind if options.dataset else LABELS.kind)
    classes = [source for source in SOURCES if source.kind == kind and source is not LABELS]
    names = [options.dataset] if options.dataset else plan.encoded_texts(experiment, *classes[:1])
    texts: list[tuple[TextSource, IdDataset | LabelList]]
    texts = [(source, experiment.id_dataset(name)) for source in classes for name in names]
    return [*texts, *([(LABELS, experiment.label_list(options.label_list))] if options.label_list else [])]


def _encode_views(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid import manifests
    from oodgrid.encode.views import encode_views
    from oodgrid.encode.work import Shard

    datasets = chosen(options.dataset, experiment.id_datasets, experiment.id_dataset)
    shard = Shard.parse(options.shard)
    for dataset in datasets:
        for views in dataset.views:
            if options.family in (None, views.family):
                file = encode_views(options.results, experiment, backbone, dataset, views, shard)
                say(*filter(None, [file]))
    if options.manifest:
        manifests.write(options.manifest, manifests.Shard(shard=options.shard, datasets=[d.name for d in datasets]))


def _encode_pseudo_ood(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid import rates, store
    from oodgrid.encode.pseudo_ood import encode_pseudo_ood
    from oodgrid.errors import unknown

    datasets = chosen(options.dataset, experiment.id_datasets, experiment.id_dataset)
    recipes = [(dataset, recipe) for dataset in datasets for recipe in dataset.pseudo_ood]
    wanted = [each for each in recipes if options.recipe in (None, each[1].name)]
    if not recipes:
        raise OodgridError(
            "no ID dataset of this experiment has pseudo_ood: write pseudo_ood: [{name: keywords}] under it"
        )
    if not wanted:
        raise unknown("recipe of pseudo_ood", options.recipe, [recipe.name for _, recipe in recipes])
    for dataset, recipe in wanted:
        where = f"{backbone.name}/{dataset.name}"
        with rates.measured(options.results, "encode", backbone.name, where) as work:
            file = encode_pseudo_ood(options.results, experiment, backbone, dataset, recipe)
            work.units, work.bytes = len(store.read_pseudo_ood(file).texts), file.stat().st_size
        say(file)


def _encode_corrupted(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid import plan, rates, store
    from oodgrid.encode.corrupted import encode_corrupted
    from oodgrid.errors import unknown

    wanted = plan.corrupted_words(experiment)
    if not wanted:
        raise OodgridError("no score of this experiment looks at corrupted images: list cover, with its corruptions")
    if options.corruption and options.corruption not in wanted:
        raise unknown("corruption of this experiment", options.corruption, wanted)
    corruptible = list(plan.corruptible(experiment.datasets()))
    named = {dataset.name for dataset in chosen(options.dataset, corruptible, experiment.dataset)}
    asked = [
        (dataset, corruption)
        for dataset, corruption in plan.corrupted_files(options.results, experiment, backbone.name).values()
        if dataset.name in named and options.corruption in (None, corruption.split.partition(".")[2])
    ]
    if not asked:
        print(f"oodgrid: {backbone.name}: no row uses these corrupted images (oodgrid check CONFIG says why)")
    for dataset, corruption in asked:
        with rates.measured(options.results, "encode", backbone.name, f"{backbone.name}/{dataset.name}") as work:
            file = encode_corrupted(options.results, backbone, dataset, corruption)
            work.units, work.bytes = len(store.read_labels(file)[0]), file.stat().st_size
        say(file)


def run_adapt(options: argparse.Namespace) -> None:
    """Fit methods, or apply what was fitted."""
    experiment = experiment_of(options)
    from oodgrid import grid
    from oodgrid.adapt.apply import apply
    from oodgrid.adapt.fit import fit

    step = {"fit": fit, "apply": apply}[options.part]
    methods = [choice.listed("method") for choice in experiment.methods]
    methods.sort(key=lambda method: len(grid.parts(experiment, method)) > 0)  # those that combine others come last
    _for_each_table(options, experiment, methods, step, options.part)


def run_score(options: argparse.Namespace) -> None:
    """Compute every score of every sample."""
    experiment = experiment_of(options)
    from oodgrid import grid
    from oodgrid.score.run import score

    _for_each_table(options, experiment, grid.methods(experiment), score, "score")


def _for_each_table(
    options: argparse.Namespace, experiment: Experiment, methods: list[str], step: Callable[..., Path], kind: str
) -> None:
    from oodgrid import grid, rates
    from oodgrid.plan import check_inputs

    for backbone in chosen(options.backbone, experiment.backbones, experiment.backbone):
        for dataset in chosen(options.id_dataset, experiment.id_datasets, experiment.id_dataset):
            check_inputs(options.results, experiment, backbone.name, dataset.name)
            for method in [options.method] if options.method else methods:
                with rates.measured(options.results, kind, method, f"{backbone.name}/{dataset.name}") as work:
                    file = step(options.results, experiment, backbone.name, dataset.name, method)
                    work.units = len(grid.fits(experiment, method))
                    work.bytes = _size(options.results, file)
                say(file)


def _size(results: Path, file: Path) -> int:
    """Return the bytes of what a job left: of a table itself, else of what its manifest names."""
    from oodgrid import manifests

    if file.suffix == ".parquet":
        return file.stat().st_size
    if file.name == "fit.json":
        names = [fit.file for fit in manifests.read(file, manifests.Fitted).fits if fit.file]
    else:
        names = [name for fit in manifests.read(file, manifests.Applied).fits for name in fit.files]
    return sum((results / name).stat().st_size for name in set(names))


def run_evaluate(options: argparse.Namespace) -> None:
    """Compute metrics and curves."""
    experiment = experiment_of(options)
    from oodgrid import grid, rates
    from oodgrid.evaluate.run import evaluate

    with rates.measured(options.results, "evaluate", "", "") as work:
        files = evaluate(options.results, experiment)
        work.units, work.bytes = grid.count_rows(experiment), sum(file.stat().st_size for file in files)
    say(*files)


def run_report(options: argparse.Namespace) -> None:
    """Write tables, figures and the page."""
    experiment = experiment_of(options)
    from oodgrid import rates
    from oodgrid.encode.thumbnails import thumbnails
    from oodgrid.report.run import PARTS, report

    datasets = {dataset.name: dataset for dataset in experiment.datasets()}
    for part in [options.part] if options.part else PARTS:
        with rates.measured(options.results, "report", part, "") as work:
            path = report(options.results, experiment, part, lambda name, paths: thumbnails(datasets[name], paths))
            work.units = 1
        say(path)
