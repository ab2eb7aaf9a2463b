"""All checks before the first job, for the workflow and for `oodgrid check`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from oodgrid.cli.common import experiment_of
from oodgrid.counts import counted

if TYPE_CHECKING:
    from oodgrid.config import Experiment
    from oodgrid.encode.sources import ImageSet


MANY = 10_000  # images that are encoded for nothing, from which on it is said


def check_experiment(results: Path, experiment: Experiment) -> dict[str, int]:
    """Refuse an experiment with cached files that do not fit, or with files that are missing or cannot be read.

    Of images that are still to be encoded it refuses what a job would, as far as that can be known in seconds.

    Returns:
        How many images a dataset has that is still to be encoded, where it was small enough to look.

    Raises:
        OodgridError: `Mistakes` has a line for each.
    """
    from oodgrid import plan
    from oodgrid.encode.foreseen_words import check_all_words
    from oodgrid.encode.sources.checking import check_sources, counts
    from oodgrid.encode.sources.copies import check_copies
    from oodgrid.errors import all_of

    opened: dict[str, dict[str, ImageSet]] = {}
    unencoded = plan.unencoded(results, experiment)
    of_files = (plan.check_identities, plan.check_imports, plan.check_labels, plan.check_finished)
    of_sources = (check_copies, check_all_words, _remark_on_shots, _remark_on_training)  # after they were opened
    all_of(
        *(partial(check, results, experiment) for check in of_files),
        lambda: check_sources(unencoded, opened),
        *(partial(check, results, experiment, opened) for check in of_sources),
        partial(_check_plugins, experiment),
    )
    return counts(unencoded, opened)


def _remark_on_shots(results: Path, experiment: Experiment, opened: Mapping[str, Mapping[str, ImageSet]]) -> None:
    """Say where classes have fewer training images than shots are asked for, or all seeds the same."""
    from oodgrid import grid, paths, store
    from oodgrid.fewshot.draws import NoDraw, draw
    from oodgrid.fewshot.reader import count_remarks
    from oodgrid.registry.banks import drawn_bank

    fits = [fit for method in grid.methods(experiment) for fit in grid.fits(experiment, method)]
    banks = filter(None, (drawn_bank(score.params.get("bank")) for score in experiment.scores))
    every = sorted({(fit.shots, fit.seed) for fit in fits if fit.shots} | set(banks))
    for dataset in experiment.id_datasets:
        stem = dataset.file_of("train")
        files = [paths.features(results, each.name, dataset.name, stem) for each in experiment.backbones]
        draws, file = None, next(filter(Path.exists, files), None)
        if "train" in opened.get(dataset.name, {}):
            labels = opened[dataset.name]["train"].labels
        elif file is not None:
            labels, draws = store.read_split_labels(file)
        else:
            continue
        for shots, of_shots in groupby(every, itemgetter(0)):
            try:
                draw(labels, None, shots, 0, draws)
                remarks = count_remarks(labels, draws, shots, [seed for _, seed in of_shots])
            except NoDraw as error:
                remarks = [str(error)]
            for remark in remarks:
                print(f"oodgrid: {dataset.name} at {counted(shots, 'shot')}: {remark}", file=sys.stderr)


def _remark_on_training(results: Path, experiment: Experiment, opened: Mapping[str, Mapping[str, ImageSet]]) -> None:
    """Say where a whole training split is to be encoded of which draws take a small part, and nothing needs more."""
    from oodgrid import paths
    from oodgrid.encode.sources.checking import count_drawn
    from oodgrid.registry.banks import TRAIN

    if any(score.params.get("bank") == TRAIN for score in experiment.scores):
        return
    for dataset in experiment.id_datasets:
        files = [paths.features(results, each.name, dataset.name, "train") for each in experiment.backbones]
        if dataset.imported or dataset.draws or any(file.exists() for file in files):
            continue
        taken = count_drawn(dataset, experiment.draws, opened)
        if taken and taken.whole - taken.drawn >= MANY and taken.drawn < taken.whole / 2:
            print(
                f"oodgrid: {dataset.name}: the draws take at most {taken.drawn:,} of {taken.whole:,} training samples: "
                "train: drawn under it encodes no others",
                file=sys.stderr,
            )


def _check_plugins(experiment: Experiment) -> None:
    """Try all scores of the user together, which is quick; if that fails, one by one, to name all that fail."""
    if not experiment.plugins:
        return
    from oodgrid.errors import OodgridError, all_of
    from oodgrid.score.checks import check_plugins

    try:
        check_plugins(experiment.scores)
    except OodgridError:
        all_of(*(partial(check_plugins, [score]) for score in experiment.scores))
        raise


def check_named_files(arguments: Sequence[str]) -> None:
    """End the program, with a line per mistake, if a file named by `snakemake --configfile` is no sound configuration.

    For `profiles/default`, which Snakemake reads before that file: its own reader dies on some files, never ends on
    others, and forgets a key that stands twice.

    Args:
        arguments: The command line, as `sys.argv`.
    """
    from oodgrid.errors import OodgridError, printed

    parser = argparse.ArgumentParser("snakemake", add_help=False, exit_on_error=False)
    parser.add_argument("--configfiles", "--configfile", nargs="+", action="extend", type=Path, default=[])
    try:
        from oodgrid.config import check_config_files

        files = parser.parse_known_args(arguments[1:])[0].configfiles
        if target := next((file for file in files[1:] if not (file.suffix or file.exists())), None):
            raise OodgridError(f"{target} is read as a config: write targets before --configfile")
        check_config_files(files)
    except argparse.ArgumentError:  # that is Snakemake's to say
        return
    except BaseException as error:
        sys.exit(printed(error, "oodgrid check CONFIG --debug shows where"))


def run_check(options: argparse.Namespace) -> None:
    """Say everything that is wrong with an experiment, or what it adds up to and will cost."""
    from oodgrid import foreseen, grid, plan

    options.config = options.file or options.config
    experiment = experiment_of(options)
    images = check_experiment(options.results, experiment)
    fits = sum(len(grid.fits(experiment, method)) for method in grid.methods(experiment))
    pairs = len(experiment.backbones) * len(experiment.id_datasets)
    rows = grid.count_rows(experiment)
    folder = options.results / experiment.experiment
    print(f"{options.config}: sound; {counted(pairs * fits, 'fit')}, {counted(rows, 'row')} of metrics in {folder}/")
    for scores, methods, reason, where in foreseen.skipped(experiment):
        under = f"under {', '.join(methods)}{where}" if scores else f"as a whole{where}"
        print(f"skipped {under}, whatever the data: {', '.join(scores or methods)}: {reason}")
    print("to do:", *plan.summary(options.results, experiment, images, plan.cpus_here()), sep="\n")
