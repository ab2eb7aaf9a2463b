"""The verb `estimate`: how well scores detect OOD, without OOD labels."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from oodgrid import paths
from oodgrid.cli.arguments import add_dialect

ESTIMATE = "how well scores detect OOD, from unlabelled scores and ID validation scores (Gscore, reconstructed)"
BENCH = paths.estimates(paths.RESULTS, "clip-b32-estimate")
ESTIMATE_EXAMPLES = f"""\
oodgrid estimate unlabelled.csv --validation id.csv
  oodgrid estimate unlabelled.parquet --validation id.parquet --score mcm knn energy     (one OOD share for all)
  oodgrid estimate unlabelled.npy --validation id.npy --bench {BENCH} --json"""


def add_estimate(verb: argparse.ArgumentParser) -> None:
    """Add the options of `oodgrid estimate`."""
    verb.add_argument(
        "scores", type=Path, metavar="SCORES", help="of unlabelled samples, ID and OOD; files as of oodgrid metrics"
    )
    verb.add_argument(
        "--validation",
        type=Path,
        metavar="FILE",
        help="scores of ID samples that are not in SCORES and chose nothing; without it little can be said",
    )
    verb.add_argument(
        "--score",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="columns of both files, where they have several",
    )
    verb.add_argument("--share", type=float, metavar="P", help="of OOD samples in SCORES, where it is known, as 0.5")
    verb.add_argument(
        "--bench",
        type=Path,
        metavar="FILE",
        help="estimates.parquet of an experiment with `estimate: true`, whose errors are the error bars; default: "
        "those of real CLIP features (experiments/clip-b32-estimate.yaml)",
    )
    add_dialect(verb)
    verb.add_argument("--json", action="store_true", help="everything, as fractions; a list with an entry a score")


def run_estimate(options: argparse.Namespace) -> None:
    """Print what unlabelled scores say of AUROC and false-positive rates, with the error bars of a bench."""
    from oodgrid.evaluate.estimate.own import estimate_files, read_bench
    from oodgrid.evaluate.estimate.wording import format_estimates, remarks
    from oodgrid.evaluate.score_csv import Dialect

    def say(line: str) -> None:
        print(line, file=sys.stderr if options.json else sys.stdout)

    bench = read_bench(options.bench)
    dialect = Dialect(options.header, options.decimal, options.separator)
    rows = estimate_files(
        options.scores, options.validation, options.score, options.negate, dialect, options.share, bench, say
    )
    if not options.json:
        print(format_estimates(rows, bench))
        return
    print(json.dumps(rows, indent=1))
    for line in remarks(rows, bench):
        say(line)
