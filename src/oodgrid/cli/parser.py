"""Verbs, their options and help texts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from oodgrid import __version__, paths, texts
from oodgrid.cli.arguments import Parser, add_dialect
from oodgrid.cli.checking import run_check
from oodgrid.cli.comparing import run_compare
from oodgrid.cli.datasets import run_datasets, run_fetch
from oodgrid.cli.detecting import NAMES, run_detect, run_export_detector
from oodgrid.cli.doctoring import run_doctor
from oodgrid.cli.estimating import ESTIMATE, ESTIMATE_EXAMPLES, add_estimate, run_estimate
from oodgrid.cli.finetuning import EXAMPLE as FINETUNE_EXAMPLE
from oodgrid.cli.finetuning import add_options, run_finetune_text
from oodgrid.cli.helpers import (
    run_export,
    run_import,
    run_inspect,
    run_list,
    run_metrics,
    run_schema,
    run_unlock,
    run_verify,
)
from oodgrid.cli.kept import run_kept_du, run_kept_gc
from oodgrid.cli.labels import add_labels
from oodgrid.cli.stages import run_adapt, run_encode, run_evaluate, run_report, run_score
from oodgrid.errors import OodgridError


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `options.run` is what to do."""
    shared = Parser(add_help=False)
    shared.add_argument("--results", type=Path, default=paths.RESULTS, metavar="DIR", help=f"default: {paths.RESULTS}")
    shared.add_argument("--log", type=Path, metavar="FILE", help="on failure, write the traceback here")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    staged = Parser(add_help=False, parents=[shared])
    staged.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE", help="default: config.yaml")

    parser = Parser(
        prog="oodgrid",
        description="OOD detection with fine-tuned vision-language models, on cached features.",
        epilog="The whole way through: snakemake --cores 8. Help on one verb: oodgrid VERB --help",
    )
    parser.add_argument("--version", action="version", version=f"oodgrid {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_stages(verbs, staged)
    what = "an encoder of texts on the classes of a dataset: one more backbone"
    parts = verbs.add_parser("finetune", help=what).add_subparsers(required=True, metavar="WHAT")
    add_options(_verb(parts, "text", run_finetune_text, f"fine-tune {what}", staged, FINETUNE_EXAMPLE))
    _add_import(verbs, shared)
    _add_datasets(verbs, shared)
    _add_detect(verbs, shared)
    add_labels(verbs, shared, _verb)
    _add_helpers(verbs, shared)
    _add_compare(verbs, shared)
    add_estimate(_verb(verbs, "estimate", run_estimate, ESTIMATE, shared, ESTIMATE_EXAMPLES))
    _add_doctor(verbs, shared)
    return parser


def _add_stages(verbs: argparse._SubParsersAction, staged: argparse.ArgumentParser) -> None:
    encode = _verb(verbs, "encode", run_encode, "images, texts, views and more through a backbone", staged,
                   "oodgrid encode images --backbone tiny --dataset moonlit")  # fmt: skip
    encode.add_argument("part", choices=("images", "drawn", "texts", "views", "corrupted", "pseudo-ood"))
    encode.add_argument("--backbone", help="default: all of the experiment")
    encode.add_argument("--dataset", help="default: all of the experiment")
    encode.add_argument("--label-list", metavar="NAME", help="texts: of this list only; default: all that scores name")
    for source in (source for source in texts.SOURCES if source.suffix):
        encode.add_argument(f"--{source.kind}", dest="kind", action="store_const", const=source.kind,
                            help=f"texts: the {source.what} only")  # fmt: skip
    encode.add_argument("--family", help="views: default: all of the dataset")
    encode.add_argument("--corruption", metavar="NAME", help="corrupted: as fog-1-seed0; default: all that scores name")
    encode.add_argument("--recipe", metavar="NAME", help="pseudo-ood: default: all of the dataset")
    encode.add_argument(
        "--shard", default="1/1", metavar="I/N", help="images and views: this part only, for a job of its own"
    )
    encode.add_argument("--manifest", type=Path, metavar="FILE", help="write this file when all is done")
    adapt = _verb(verbs, "adapt", run_adapt, "fit a method to the shots, then apply it to every set", staged,
                  "oodgrid adapt fit --method coop")  # fmt: skip
    adapt.add_argument("part", choices=("fit", "apply"))
    score = _verb(verbs, "score", run_score, "every score of every sample", staged, "oodgrid score --method coop")
    for verb in (adapt, score):
        for name in ("backbone", "id-dataset", "method"):
            verb.add_argument(f"--{name}", help="default: all of the experiment")
    _verb(verbs, "evaluate", run_evaluate, "metrics and curves of every score", staged, "oodgrid evaluate")
    report = _verb(verbs, "report", run_report, "tables, figures and a page", staged, "oodgrid report figures")
    report.add_argument("part", nargs="?", choices=("tables", "figures", "page"), help="default: all three")


IMPORT_EXAMPLES = """\
oodgrid import tip-adapter caches/dtd --backbone clip-vit-b32 --dataset dtd
  oodgrid import npz food.npz --backbone clip-vit-b32 --dataset food --split test       (also safetensors, parquet)
  oodgrid import npy food.npy --labels labels.txt --backbone clip-vit-b32 --dataset food
  oodgrid import clip-retrieval FOLDER --label folder --backbone clip-vit-b32 --dataset food
  oodgrid import text text_features.pt --backbone clip-vit-b32 --dataset imagenet --classnames names.txt
  oodgrid import text nouns.npy --backbone clip-vit-b32 --label-list nouns --classnames nouns.csv --template "the {}"
  oodgrid import experiment experiments/clip-b32-features.yaml"""

DETECTOR = "detector"
FEATURES = paths.features(paths.RESULTS, "tiny", "moonlit", "test")
EXPORT_EXAMPLES = f"""\
oodgrid export {FEATURES} moonlit.npz
  oodgrid export {paths.texts(paths.RESULTS, "tiny", "moonlit")} texts.parquet --force
  oodgrid import npz moonlit.npz --backbone tiny --dataset moonlit-again       (has back every bit)
  oodgrid export detector --experiment demo --method tip_adapter --score mcm --shots 16 --seed 1 tip.safetensors"""


def _add_import(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    verb = verbs.add_parser(
        "import", help="bring in features that somebody else computed", epilog=f"example:\n  {IMPORT_EXAMPLES}",
        description="Bring in features that somebody else computed.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    formats = verb.add_subparsers(required=True, metavar="FORMAT")
    _import_formats(formats, shared)
    experiment = formats.add_parser("experiment", help="all that an experiment imports", parents=[shared])
    experiment.add_argument("source", type=Path, metavar="CONFIG", help="as experiments/clip-b32-features.yaml")
    experiment.set_defaults(run=run_import, format="experiment")
    what = "write features or texts in another format, or a detector of an experiment"
    export = _verb(verbs, "export", _run_export, what, shared, EXPORT_EXAMPLES)
    export.add_argument("file", type=Path, help='a .h5 file of results, or the word "detector"')
    export.add_argument("out", type=Path, help=".npz, .safetensors or .parquet; of a detector .safetensors")
    export.add_argument("--force", action="store_true", help="write over what is there")
    _of_detector(export.add_argument_group("of a detector"))


def _run_export(options: argparse.Namespace) -> None:
    """Write a detector, or a file of results in another format."""
    if str(options.file) == DETECTOR:
        run_export_detector(options)
        return
    if misplaced := [name for name in ("experiment", "config", "keep", *NAMES) if getattr(options, name) is not None]:
        option = misplaced[0].replace("_", "-")
        raise OodgridError(f"--{option} is of a detector: write oodgrid export {DETECTOR} … {options.out}")
    run_export(options)


DATASETS_EXAMPLE = """\
oodgrid datasets                        (all that are known)
  oodgrid datasets --root /data           (which of them lie there)
  oodgrid datasets food101                (licence, splits, prompts, traps of one)
  oodgrid datasets --config experiments/ming-li-2023.yaml"""


def _add_datasets(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    what = "which real datasets are there, what is missing, and how to get it"
    datasets = _verb(verbs, "datasets", run_datasets, what, shared, DATASETS_EXAMPLE)
    datasets.add_argument("names", nargs="*", metavar="NAME", help="default: all of the catalogue")
    datasets.add_argument("--root", type=Path, metavar="DIR", help="the folder of your datasets")
    datasets.add_argument("--config", "--configfile", type=Path, metavar="FILE", help="those of an experiment")
    what = "download real datasets, with resume and checksum (uses the network)"
    fetch = _verb(verbs, "fetch", run_fetch, what, shared, "oodgrid fetch dtd caltech101 --root /data")
    fetch.add_argument("names", nargs="+", metavar="NAME", help="as oodgrid datasets lists them")
    fetch.add_argument("--root", required=True, type=Path, metavar="DIR", help="the folder of your datasets")
    fetch.add_argument("--keep-archives", action="store_true", help="leave archives beside what was in them")


DETECT_EXAMPLES = """\
oodgrid detect --experiment demo                                (says which detector it would take, and why)
  oodgrid detect --experiment demo --method tip_adapter --score mcm --shots 16 --seed 1 photos/ more.zip one.jpg
  oodgrid detect --experiment demo --method zero_shot --score mcm photos/ --keep 0.99 --out page.html --out rows.csv
  oodgrid detect --detector tip.safetensors photos/"""


def _add_detect(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    what = "say of new images which are out-of-distribution, by a method and score of an experiment"
    detect = _verb(verbs, "detect", run_detect, what, shared, DETECT_EXAMPLES)
    detect.add_argument("images", nargs="*", metavar="IMAGES", help="image files, folders, archives, lists")
    _of_detector(detect)
    detect.add_argument("--detector", type=Path, metavar="FILE", help="in place of all that: one that was exported")
    detect.add_argument("--out", type=Path, action="append", default=[], metavar="FILE",
                        help=".csv, .parquet or .html; default: a table on the screen")  # fmt: skip
    detect.add_argument("--force", action="store_true", help="write over what is there")


def _of_detector(verb: argparse._ActionsContainer) -> None:
    verb.add_argument("--experiment", metavar="NAME", help="one that was run, by its folder in results")
    verb.add_argument("--config", type=Path, metavar="FILE", help="the same, by its configuration")
    verb.add_argument("--backbone", metavar="NAME", help="where the experiment has several")
    verb.add_argument("--id-dataset", metavar="NAME", help="where the experiment has several")
    verb.add_argument("--method", metavar="NAME", help="default: that of the best AUROC on the OOD sets")
    verb.add_argument("--score", metavar="NAME", help="default: likewise")
    verb.add_argument("--shots", type=int, metavar="N", help="default: the most")
    verb.add_argument("--seed", type=int, metavar="N", help="default: the first")
    verb.add_argument("--keep", type=float, metavar="SHARE", help="of ID images that count as such; default: 0.95")


def _import_formats(formats: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    named = Parser(add_help=False, parents=[shared])
    named.add_argument("--backbone", metavar="NAME", help="under which configs know the encoder")
    named.add_argument("--dataset", metavar="NAME", help="under which configs know the dataset")
    of_split = Parser(add_help=False, parents=[named])
    of_split.add_argument("--split", default="test", choices=("train", "val", "test"),
                          help="what the rows are; default: test")  # fmt: skip

    def add(name: str, what: str, parent: Parser, source: str) -> argparse.ArgumentParser:
        parser = formats.add_parser(name, help=what, description=f"Import {what}.", parents=[parent])
        parser.add_argument("source", type=Path, help=source)
        parser.set_defaults(run=run_import, format=name, label_list=None)
        return parser

    tip = add("tip-adapter", "the caches of Tip-Adapter's code", named, "their folder")
    tip.add_argument("--test", default="test", help="what becomes the test split (test, val, keys_4shots)")
    for name in ("npz", "safetensors", "parquet"):
        add(name, f"image_features and labels of a .{name} file", of_split, "the file")
    npy = add("npy", "one array of features", of_split, ".npy, or a tensor in a .pt file")
    npy.add_argument("--labels", type=Path, metavar="FILE", help=".npy, .csv, or text with one whole number a line")
    npy.add_argument("--paths", type=Path, metavar="FILE", help="text with the name of each image")
    clip = add("clip-retrieval", "what clip-retrieval wrote", of_split, "its folder")
    clip.add_argument("--label", metavar="COLUMN", help="column of labels, or folder")
    text = add("text", "features of texts", named, ".npy, or a tensor in a .pt file")
    text.add_argument("--label-list", metavar="NAME", help="in place of --dataset: labels for a score")
    text.add_argument("--classnames", type=Path, metavar="FILE", help="JSON or text file with the names")
    text.add_argument("--template", default="a photo of a {}.", help="the prompt that was used")


def _add_helpers(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    metrics = _verb(verbs, "metrics", run_metrics, "metrics of anybody's own scores, higher = in-distribution", shared,
                    "oodgrid metrics --id id.csv --ood ood.csv --negate")  # fmt: skip
    metrics.add_argument("--id", required=True, type=Path, metavar="FILE",
                         help=".npy, .csv, .csv.gz or .parquet; of a table of scores in results, one set and fit: "
                         "FILE@dataset=NAME,shots=N,seed=N")  # fmt: skip
    metrics.add_argument("--ood", required=True, type=Path, nargs="+", action="extend", metavar="FILE",
                         help="one or several: each has its row, with --json in a list")  # fmt: skip
    metrics.add_argument("--score", metavar="NAME", help="column, where a file has several")
    metrics.add_argument("--recall", type=float, nargs="+", action="extend", default=[], metavar="R",
                         help="also false-positive rates at these recalls, as 0.9 0.99")  # fmt: skip
    add_dialect(metrics)
    metrics.add_argument("--json", action="store_true", help="fractions under the names of metrics.parquet")
    listing = _verb(verbs, "list", run_list, "what exists", shared, "oodgrid list scores")
    listing.add_argument("what", choices=("scores", "methods", "metrics", "datasets", "backbones", "label_lists"))
    listing.add_argument("--config", type=Path, metavar="FILE", help="scores, methods: with those of its plugins")
    listing.add_argument(
        "--short", action="store_true", help="scores, methods: a line each, what it needs and looks at"
    )
    check = _verb(verbs, "check", run_check, "say all that is wrong with an experiment, before anything runs", shared,
                  "oodgrid check experiments/mine.yaml")  # fmt: skip
    check.add_argument("file", type=Path, nargs="?", metavar="CONFIG", help="default: config.yaml")
    check.set_defaults(config=Path("config.yaml"))
    inspect = _verb(verbs, "inspect", run_inspect, "what a results file holds and where it comes from", shared,
                    f"oodgrid inspect {FEATURES}")  # fmt: skip
    inspect.add_argument("file", type=Path)
    verify = _verb(verbs, "verify", run_verify, "check checksums of results files, and the samples behind them", shared,
                   f"oodgrid verify {FEATURES.parents[1]}/*/*.h5 --sources")  # fmt: skip
    verify.add_argument("files", type=Path, nargs="+", help="results, or an experiment's folder of results")
    verify.add_argument("--sources", action="store_true", help="also compare names, sizes and times of the samples")
    verify.add_argument("--deep", action="store_true", help="also compare the SHA-256 of every sample")
    _add_kept(verbs, shared)
    _verb(verbs, "schema", run_schema, "the JSON schema of an experiment file", shared, "oodgrid schema")
    _verb(verbs, "unlock", run_unlock, "remove the lock of a killed snakemake, if none is running here", shared,
          "oodgrid unlock")  # fmt: skip


COMPARE_EXAMPLES = """\
oodgrid compare demo
  oodgrid compare metrics.parquet --config config.yaml --json
  oodgrid compare demo --published mine.yaml --all           (docs/compare.md: the form of such a file)"""


def _add_compare(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    what = "results beside what others published, where setting and convention match"
    verb = _verb(verbs, "compare", run_compare, what, shared, COMPARE_EXAMPLES)
    verb.add_argument("what", nargs="?", metavar="EXPERIMENT", help="its name, its folder or its metrics.parquet")
    verb.add_argument("--config", type=Path, metavar="FILE", help="of the experiment; default: that which planned it")
    verb.add_argument("--published", type=Path, action="append", default=[], metavar="FILE",
                      help="published values of your own, beside those of the catalogue")  # fmt: skip
    verb.add_argument("--all", action="store_true", help="list all that does not compare, and why")
    verb.add_argument("--json", action="store_true", help="everything, as fractions")


def _add_doctor(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    what = "whether this machine is fit for an experiment, and what to type next"
    verb = _verb(verbs, "doctor", run_doctor, what, shared, "oodgrid doctor --configfile experiments/mine.yaml")
    verb.add_argument("file", type=Path, nargs="?", metavar="CONFIG", help="default: config.yaml, if it is here")
    verb.add_argument("--configfile", "--config", type=Path, metavar="FILE", help="the same, as snakemake has it")
    verb.add_argument("--json", action="store_true", help="everything, for programs")


KEPT_EXAMPLE = """\
oodgrid kept gc            (says what it would remove)
  oodgrid kept gc --yes      (removes it)"""


def _add_kept(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    what = "how much finished work is kept, and removing what nobody uses"
    parts = verbs.add_parser("kept", help=what, description=what[0].upper() + what[1:] + ".").add_subparsers(
        required=True, metavar="WHAT"
    )
    _verb(parts, "du", run_kept_du, "how much there is, by stage and by experiment", shared, "oodgrid kept du")
    collect = _verb(parts, "gc", run_kept_gc, "remove the work that no result points to", shared, KEPT_EXAMPLE)
    collect.add_argument("--yes", action="store_true", help="remove it; without, only say what would go")


def _verb(
    verbs: argparse._SubParsersAction,
    name: str,
    run: Callable,
    what: str,
    parent: argparse.ArgumentParser,
    example: str,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        parents=[parent],
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(run=run)
    return verb
