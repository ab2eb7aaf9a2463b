"""The verbs of detectors: judging new images, and taking a detector away."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from oodgrid.cli.common import experiment_of, say
from oodgrid.errors import OodgridError, printable

if TYPE_CHECKING:
    import polars as pl

    from oodgrid.config import Experiment
    from oodgrid.detector import Detector
    from oodgrid.detector.choosing import Chosen

NAMES = ("backbone", "id_dataset", "method", "score", "shots", "seed")


def run_detect(options: argparse.Namespace) -> None:
    """Say for each image its class, its score, and whether it is out-of-distribution."""
    from oodgrid.detector import output

    output.check_names(options.out, options.force)
    if not (options.images or options.detector):
        _propose(options)
        return
    if not options.images:
        raise OodgridError("name the images: files, folders, archives or lists")
    from oodgrid.encode.sources.passing_over import summary
    from oodgrid.encode.sources.unseen import open_images

    images = open_images(options.images)  # before seconds are spent on the rest
    detector = _detector(options)
    for line in (*detector.lines(), summary(images.passed_over), *images.remarks):
        if line:
            print(f"oodgrid: {printable(line)}", file=sys.stderr)
    table = detector.predict_set(images)
    if options.out:
        say(*(output.write(file, table, detector, images) for file in options.out))
    else:
        _print(table)
    if table["reason"].null_count() == 0:
        raise OodgridError(f"{output.summary(table)}: each row says why")
    print(f"oodgrid: {output.summary(table)}", file=sys.stderr)


def run_export_detector(options: argparse.Namespace) -> None:
    """Write a detector of an experiment as one file."""
    detector = _detector(options)
    file = detector.save(options.out, options.force)
    for line in detector.lines():
        print(f"oodgrid: {printable(line)}", file=sys.stderr)
    say(file)


def _detector(options: argparse.Namespace) -> Detector:
    from oodgrid.detector import Detector, from_experiment
    from oodgrid.detector.threshold import KEEP

    if getattr(options, "detector", None) is None:
        experiment, chosen = _chosen(options)
        return from_experiment(options.results, experiment, chosen, KEEP if options.keep is None else options.keep)
    if options_given := [name for name in ("experiment", "config", *NAMES) if getattr(options, name) is not None]:
        raise OodgridError(
            f"--detector holds all that --{options_given[0].replace('_', '-')} would say: leave that out"
        )
    detector = Detector.load(options.detector)
    return detector if options.keep is None else detector.keeping(options.keep)


def _chosen(options: argparse.Namespace) -> tuple[Experiment, Chosen]:
    from oodgrid.detector import choosing

    if options.experiment and options.config:
        raise OodgridError("--experiment and --config: name one of them")
    if not (options.experiment or options.config):
        raise OodgridError("name the experiment: --experiment demo, or --config FILE")
    experiment = choosing.planned(options.results, options.experiment) if options.experiment else experiment_of(options)
    wanted = choosing.Wanted(**{name: getattr(options, name) for name in NAMES})
    return experiment, choosing.choose(options.results, experiment, wanted)


def _propose(options: argparse.Namespace) -> None:
    """Say which detector of the experiment would be used, why, and how."""
    _, chosen = _chosen(options)
    source = f"--experiment {options.experiment}" if options.experiment else f"--config {options.config}"
    print(f"{chosen.method} + {chosen.score.listed('score')}: {printable(chosen.why)}")
    print(f"oodgrid detect {source} {chosen.options} IMAGES")


def _print(table: pl.DataFrame) -> None:
    """Print one line an image, in columns."""
    lines = [["path", "class", "score", "is_ood"]]
    for row in table.iter_rows(named=True):
        label = row["class"] if row["class"] is not None else row["prediction"]
        if row["score"] is None:
            cells = ["-", "-", f"unreadable: {row['reason']}"]
        else:
            cells = ["-" if label is None else str(label), f"{row['score']:.6g}", "OOD" if row["is_ood"] else "ID"]
        lines.append([printable(cell) for cell in (row["path"], *cells)])
    widths = [max(len(line[place]) for line in lines) for place in range(3)]
    for line in lines:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]))
