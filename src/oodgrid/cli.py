"""The command line: the roof that alone knows all five rooms.

Heavy imports stand inside the commands, so that `oodgrid metrics` starts without torch.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodgrid import __version__
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.config import Backbone, Experiment
    from oodgrid.registry import Entry

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "POLARS_MAX_THREADS",
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: not every name of a file is UTF-8
    _cap_threads()
    try:
        options.run(options)
    except OodgridError as error:
        return _fail(options, f"error: {error}")
    except KeyboardInterrupt:
        _fail(options, "interrupted; what was finished is kept")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _fail(options, f"unexpected {type(error).__name__}: {error} (--debug shows where; please report it)")
    return 0


def _fail(options: argparse.Namespace, line: str) -> int:
    if options.debug:
        traceback.print_exc()
    if options.log:
        with suppress(OSError):  # where nothing can be written, that is what the line says
            options.log.parent.mkdir(parents=True, exist_ok=True)
            options.log.write_text(f"oodgrid: {line}\n\n{traceback.format_exc()}", "utf-8", "backslashreplace")
    print(f"oodgrid: {' '.join(line.split())}", file=sys.stderr)
    return 1


def _cap_threads() -> None:
    """Never start more threads than there are CPUs, whatever the workflow says; must run before numpy loads."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for variable in THREAD_VARIABLES:
        given = os.environ.get(variable, "")
        os.environ[variable] = str(min(int(given), cpus) if given.isdigit() and int(given) else cpus)


# ------------------------------------------------------------------------------------------------- the stages


def _encode(options: argparse.Namespace) -> None:
    from oodgrid.plan import check_identities

    experiment = _experiment(options)
    check_identities(options.results, experiment)  # another experiment may mean something else by the same name
    encode = {"images": _encode_images, "texts": _encode_texts, "views": _encode_views}[options.part]
    for backbone in _chosen(options.backbone, experiment.backbones, experiment.backbone):
        encode(options, experiment, backbone)


def _encode_images(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid import store
    from oodgrid.encode.chunks import Shard
    from oodgrid.encode.images import encode_images

    wanted = [d for d in experiment.datasets() if not d.imported]
    datasets = {d.name: d for d in _chosen(options.dataset, wanted, experiment.dataset)}
    for dataset in datasets.values():
        _say(*encode_images(options.results, backbone, dataset, Shard.parse(options.shard)))
    if options.manifest:
        store.write_json(options.manifest, {"shard": options.shard, "datasets": list(datasets)})


def _encode_texts(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid import plan
    from oodgrid.encode.texts import encode_labels, encode_shuffled, encode_texts

    classes = [options.dataset] if options.dataset else plan.encoded_texts(experiment)
    lists = [options.label_list] if options.label_list else plan.encoded_lists(experiment)
    everything = not (options.dataset or options.label_list or options.shuffled)
    if everything or (options.dataset and not options.shuffled):
        for name in classes:
            _say(encode_texts(options.results, backbone, experiment.id_dataset(name)))
    if options.shuffled or (everything and plan.shuffles(experiment)):
        for name in classes:
            _say(encode_shuffled(options.results, backbone, experiment.id_dataset(name)))
    if everything or options.label_list:
        for name in lists:
            _say(encode_labels(options.results, experiment, backbone, experiment.label_list(name)))


def _encode_views(options: argparse.Namespace, experiment: Experiment, backbone: Backbone) -> None:
    from oodgrid.encode.views import encode_views

    for dataset in _chosen(options.dataset, experiment.id_datasets, experiment.id_dataset):
        for views in dataset.views:
            if options.family in (None, views.family):
                _say(encode_views(options.results, experiment, backbone, dataset, views))


def _adapt(options: argparse.Namespace) -> None:
    from oodgrid.adapt.apply import apply
    from oodgrid.adapt.fit import fit

    step = {"fit": fit, "apply": apply}[options.part]
    methods = [method.listed("method") for method in _experiment(options).methods]
    _for_each_table(options, methods, step)


def _score(options: argparse.Namespace) -> None:
    from oodgrid import grid
    from oodgrid.score.run import score

    _for_each_table(options, grid.methods(_experiment(options)), score)


def _for_each_table(options: argparse.Namespace, methods: list[str], step: Callable[..., Path]) -> None:
    from oodgrid.plan import check_inputs

    experiment = _experiment(options)
    for backbone in _chosen(options.backbone, experiment.backbones, experiment.backbone):
        for dataset in _chosen(options.id_dataset, experiment.id_datasets, experiment.id_dataset):
            check_inputs(options.results, experiment, backbone.name, dataset.name)
            for method in [options.method] if options.method else methods:
                _say(step(options.results, experiment, backbone.name, dataset.name, method))


def _evaluate(options: argparse.Namespace) -> None:
    from oodgrid.evaluate.run import evaluate

    _say(*evaluate(options.results, _experiment(options)))


def _report(options: argparse.Namespace) -> None:
    from oodgrid.report.run import PARTS, report

    experiment = _experiment(options)
    for part in [options.part] if options.part else PARTS:
        report(options.results, experiment, part)
    _say(options.results / experiment.experiment / "report.html")


# ----------------------------------------------------------------------------------------------- helper verbs


def _import(options: argparse.Namespace) -> None:
    from oodgrid.encode import importing

    if options.format == "experiment":
        from oodgrid.config import load

        _say(*importing.import_experiment(options.results, load(options.source)))
        return
    _refuse_strange_options(options)
    name = options.dataset if options.label_list is None else options.label_list
    where = (options.results, _slug(options.backbone), _slug(name))
    if options.format == "tip-adapter":
        _say(*importing.import_tip_adapter(*where, options.source, options.test))
    elif options.format == "text":
        of_labels = options.label_list is not None
        _say(importing.import_text(*where, options.source, options.classnames, options.template, of_labels))
    elif options.format == "npy":
        _say(*importing.import_npy(*where, options.source, options.labels, options.paths, options.split))
    elif options.format == "clip-retrieval":
        _say(*importing.import_clip_retrieval(*where, options.source, options.split, options.label))
    else:
        _say(*importing.import_arrays(*where, options.source, options.split))


def _refuse_strange_options(options: argparse.Namespace) -> None:
    """Refuse what a format would pass over in silence."""
    owners = {"labels": "npy", "paths": "npy", "label": "clip-retrieval", "classnames": "text", "label_list": "text"}
    for name, owner in owners.items():
        if getattr(options, name) is not None and options.format != owner:
            said = name.replace("_", "-")
            raise OodgridError(f"--{said} is for oodgrid import {owner}, not for {options.format}: take it out")
    if options.dataset and options.label_list:
        raise OodgridError("--dataset and --label-list: text features are of classes or of a list, not of both")


def _labels_wordnet(options: argparse.Namespace) -> None:
    from oodgrid.config import Lexicographer
    from oodgrid.encode.labels.tables import write_table
    from oodgrid.encode.labels.wordnet import read_lexicographer

    source = Lexicographer(
        folder=str(options.folder),
        lexnames=options.lexnames or None,
        without=options.without,
        pool=options.pool,
        seed=options.seed,
    )
    _say(write_table(options.out, read_lexicographer(source), options.force))


def _labels_ask(options: argparse.Namespace) -> None:
    from oodgrid.encode.labels.asking import Endpoint, ask
    from oodgrid.encode.labels.tables import refuse_to_overwrite, write_answers

    refuse_to_overwrite(options.out, options.force, ".json")
    key = os.environ.get(options.key_env or "")
    if options.key_env and not key:
        raise OodgridError(f"the environment variable {options.key_env} is not set: export {options.key_env}=…")
    endpoint = Endpoint(options.endpoint, options.model, options.results, key, options.timeout)
    found = ask(endpoint, options.kind, _classes(options), options.count)
    _say(write_answers(options.out, found))
    print(f"{sum(map(len, found.values()))} labels; the answers are kept in {options.results / 'kept' / 'labels'}")


def _classes(options: argparse.Namespace) -> list[str]:
    """Return the classes of which outliers are asked for: of an ID dataset of an experiment, or from a file."""
    from oodgrid.config import load
    from oodgrid.encode.labels.tables import read_classes
    from oodgrid.encode.texts import classes_of

    if options.classes.suffix not in (".yaml", ".yml"):
        return read_classes(options.classes)
    experiment = load(options.classes)
    names = [options.dataset] if options.dataset else [dataset.name for dataset in experiment.id_datasets]
    if len(names) > 1:
        raise OodgridError(f"{options.classes} has several ID datasets: choose one by --dataset, of {', '.join(names)}")
    return classes_of(options.results, experiment, experiment.backbones[0].name, names[0])


def _export(options: argparse.Namespace) -> None:
    from oodgrid.encode.exporting import export

    _say(export(options.file, options.out, options.force))


def _metrics(options: argparse.Namespace) -> None:
    from oodgrid.evaluate.score_files import compare_files, format_table

    row = compare_files(options.id, options.ood, options.score, options.negate)
    print(json.dumps(row, indent=1) if options.json else format_table(row, options.negate))


def _list(options: argparse.Namespace) -> None:
    from oodgrid import catalogue, registry

    kind = options.what.removesuffix("s")
    if kind not in registry.PACKAGES:
        lines = [(name, json.dumps(_brief(entry))) for name, entry in catalogue.entries(kind).items()]
        _table(("name", "entry"), lines)
        return
    for _, entry in sorted(registry.entries(kind).items(), key=lambda item: (item[1].family, item[0])):
        print(entry.name, *_wrapped(*_described(entry)), sep="\n")
    missing = registry.excluded(kind)
    if missing:
        print("\nNot on cached features, and why:", *_wrapped(*(f"{k}: {v}" for k, v in missing.items())), sep="\n")


def _described(entry: Entry) -> list[str]:
    """Return what a person wants to know of a method or score, line by line."""
    kind = [f"family: {entry.family}" if entry.family else "", "transductive" if entry.transductive else ""]
    return [
        entry.summary,
        f"needs: {', '.join(entry.needs) or 'nothing'}",
        f"parameters: {_params(entry)}",
        *filter(None, ["; ".join(filter(None, kind)), entry.adapted and f"adapted: {entry.adapted}"]),
        entry.paper,
    ]


def _brief(thing: Any) -> Any:
    """Return an entry of the catalogue with its longer lists cut."""
    if isinstance(thing, dict):
        return {key: _brief(value) for key, value in thing.items()}
    return [*thing[:3], f"… {len(thing)} in all"] if isinstance(thing, list) and len(thing) > 5 else thing


def _wrapped(*texts: str) -> list[str]:
    """Return texts as lines that fit the terminal, below and right of what they belong to."""
    width = max(60, shutil.get_terminal_size((110, 24)).columns - 1)
    wrap = textwrap.TextWrapper(width, initial_indent="    ", subsequent_indent="      ")
    return [line for text in texts for line in wrap.wrap(text)]


def _inspect(options: argparse.Namespace) -> None:
    from oodgrid.inspection import describe

    print(describe(options.file))


def _verify(options: argparse.Namespace) -> None:
    bad = 0
    for file in options.files:
        state, said = _verified(file, options)
        bad += state != "ok"
        print(f"{state:8}{said}")
    if bad:
        raise OodgridError(f"{bad} of {len(options.files)} files are damaged or out of date (named above)")


def _verified(file: Path, options: argparse.Namespace) -> tuple[str, str]:
    """Return the state of a file, and its name or what is wrong with it."""
    from oodgrid.inspection import verify

    state = "DAMAGED"
    try:
        verify(file)
        if not (options.sources or options.deep):
            return "ok", str(file)
        from oodgrid.encode.verifying import check_sources

        state = "CHANGED"
        return "ok", f"{file}: {check_sources(file, options.deep)}"
    except OodgridError as error:
        return state, str(error)


def _schema(options: argparse.Namespace) -> None:
    from oodgrid.config import schema

    print(json.dumps(schema(), indent=1))


def _unlock(options: argparse.Namespace) -> None:
    from oodgrid.unlock import remove_stale_lock

    remove_stale_lock(Path.cwd())


# ---------------------------------------------------------------------------------------------------- parsing


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help="default: results")
    shared.add_argument("--log", type=Path, metavar="FILE", help="on failure, write the traceback here")
    shared.add_argument("--debug", action="store_true", help="show the traceback of an error")
    staged = argparse.ArgumentParser(add_help=False, parents=[shared])
    staged.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE", help="default: config.yaml")

    parser = argparse.ArgumentParser(
        prog="oodgrid",
        description="OOD detection with fine-tuned vision-language models, on cached features.",
        epilog="The whole way through: snakemake --cores 8. Help on one verb: oodgrid VERB --help",
    )
    parser.add_argument("--version", action="version", version=f"oodgrid {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_stages(verbs, staged)
    _add_import(verbs, shared)
    _add_labels(verbs, shared)
    _add_helpers(verbs, shared)
    return parser


def _add_stages(verbs: argparse._SubParsersAction, staged: argparse.ArgumentParser) -> None:
    encode = _verb(verbs, "encode", _encode, "images, texts or augmented views through a backbone", staged,
                   "oodgrid encode images --backbone tiny --dataset concepts")  # fmt: skip
    encode.add_argument("part", choices=("images", "texts", "views"))
    encode.add_argument("--backbone", help="default: all of the experiment")
    encode.add_argument("--dataset", help="default: all of the experiment")
    encode.add_argument("--label-list", metavar="NAME", help="texts: of this list only; default: all that scores name")
    encode.add_argument("--shuffled", action="store_true", help="texts: the class names in shuffled prompts only")
    encode.add_argument("--family", help="views: default: all of the dataset")
    encode.add_argument("--shard", default="1/1", metavar="I/N", help="images: this part only, for a job of its own")
    encode.add_argument("--manifest", type=Path, metavar="FILE", help="write this file when all is done")
    adapt = _verb(verbs, "adapt", _adapt, "fit a method to the shots, then apply it to every set", staged,
                  "oodgrid adapt fit --method coop")  # fmt: skip
    adapt.add_argument("part", choices=("fit", "apply"))
    score = _verb(verbs, "score", _score, "every score of every sample", staged, "oodgrid score --method coop")
    for verb in (adapt, score):
        for name in ("backbone", "id-dataset", "method"):
            verb.add_argument(f"--{name}", help="default: all of the experiment")
    _verb(verbs, "evaluate", _evaluate, "metrics and curves of every score", staged, "oodgrid evaluate")
    report = _verb(verbs, "report", _report, "tables, figures and a page", staged, "oodgrid report figures")
    report.add_argument("part", nargs="?", choices=("tables", "figures", "page"), help="default: all three")


IMPORT_EXAMPLES = """\
oodgrid import tip-adapter caches/dtd --backbone clip-vit-b32 --dataset dtd
  oodgrid import npz food.npz --backbone clip-vit-b32 --dataset food --split test       (also safetensors, parquet)
  oodgrid import npy food.npy --labels labels.txt --backbone clip-vit-b32 --dataset food
  oodgrid import clip-retrieval FOLDER --label folder --backbone clip-vit-b32 --dataset food
  oodgrid import text text_features.pt --backbone clip-vit-b32 --dataset imagenet --classnames names.txt
  oodgrid import text nouns.npy --backbone clip-vit-b32 --label-list nouns --classnames nouns.csv --template "the {}"
  oodgrid import experiment experiments/clip-b32-features.yaml"""

EXPORT_EXAMPLES = """\
oodgrid export results/features/tiny/concepts/test.h5 concepts.npz
  oodgrid export results/text/tiny/concepts.h5 texts.parquet --force
  oodgrid import npz concepts.npz --backbone tiny --dataset concepts-again       (has back every bit)"""


def _add_import(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    verb = _verb(verbs, "import", _import, "bring in features that somebody else computed", shared, IMPORT_EXAMPLES)
    formats = ("tip-adapter", "npz", "npy", "safetensors", "parquet", "clip-retrieval", "text", "experiment")
    verb.add_argument("format", choices=formats)
    verb.add_argument("source", type=Path, help="folder (tip-adapter, clip-retrieval), file, or experiment")
    verb.add_argument("--backbone", help="name under which configs know the encoder")
    verb.add_argument("--dataset", help="name under which configs know the dataset")
    verb.add_argument(
        "--split", default="test", choices=("train", "val", "test"), help="what the rows are; default test"
    )
    verb.add_argument(
        "--test", default="test", help="tip-adapter: what becomes the test split (test, val, keys_4shots)"
    )
    verb.add_argument(
        "--labels", type=Path, metavar="FILE", help="npy: .npy, .csv, or text with one whole number a line"
    )
    verb.add_argument("--paths", type=Path, metavar="FILE", help="npy: text with the name of each image")
    verb.add_argument("--label", metavar="COLUMN", help="clip-retrieval: column of labels, or folder")
    verb.add_argument("--label-list", metavar="NAME", help="text, in place of --dataset: labels for a score")
    verb.add_argument("--classnames", type=Path, metavar="FILE", help="text: JSON or text file with the names")
    verb.add_argument("--template", default="a photo of a {}.", help="text: the prompt that was used")
    export = _verb(verbs, "export", _export, "write a feature or text file in another format", shared, EXPORT_EXAMPLES)
    export.add_argument("file", type=Path, help="a .h5 file of results")
    export.add_argument("out", type=Path, help=".npz, .safetensors or .parquet")
    export.add_argument("--force", action="store_true", help="write over what is there")


WORDNET_EXAMPLE = """\
oodgrid labels wordnet nouns.csv --folder /usr/share/wordnet --without noun.animal noun.food adj.all adj.pert adj.ppl"""

ASK_EXAMPLE = """\
oodgrid labels ask far.json --endpoint https://api.openai.com/v1 --model gpt-4o-mini --key-env OPENAI_API_KEY
      --classes config.yaml --kind far"""


def _add_labels(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    labels = verbs.add_parser("labels", help="write a list of labels for scores", description="Write a list of labels.")
    parts = labels.add_subparsers(required=True, metavar="FROM")
    wordnet = _verb(parts, "wordnet", _labels_wordnet, "nouns and adjectives of WordNet", shared, WORDNET_EXAMPLE)
    wordnet.add_argument("--folder", required=True, type=Path, help="with data.noun and data.adj, or with word lists")
    wordnet.add_argument("--lexnames", nargs="+", metavar="NAME", help="as noun.act; default: all, by alphabet")
    wordnet.add_argument("--without", nargs="+", default=[], metavar="NAME", help="to leave out")
    wordnet.add_argument("--pool", choices=("csp",), help="csp: adjectives with a superclass each")
    wordnet.add_argument("--seed", type=int, default=0, help="of the draw of superclasses")
    ask = _verb(parts, "ask", _labels_ask, "outliers asked from a language model, once (uses the network)", shared,
                ASK_EXAMPLE)  # fmt: skip
    ask.add_argument("--endpoint", required=True, metavar="URL", help="OpenAI-compatible, as https://api.openai.com/v1")
    ask.add_argument("--model", required=True)
    ask.add_argument("--classes", required=True, type=Path, metavar="FILE", help="experiment, or file with the names")
    ask.add_argument("--dataset", help="of an experiment with several ID datasets: this one")
    ask.add_argument("--kind", required=True, choices=("far", "near", "fine_grained"))
    ask.add_argument("--count", type=int, help="labels; near: of every class. Default: 500; near: 3")
    ask.add_argument("--key-env", metavar="VAR", help="environment variable with the key, which is written nowhere")
    ask.add_argument("--timeout", type=float, default=120.0, metavar="S", help="seconds for an answer; default: 120")
    for verb in (wordnet, ask):
        verb.add_argument("out", type=Path, help=".json" if verb is ask else ".csv")
        verb.add_argument("--force", action="store_true", help="write over what is there")


def _add_helpers(verbs: argparse._SubParsersAction, shared: argparse.ArgumentParser) -> None:
    metrics = _verb(verbs, "metrics", _metrics, "metrics of anybody's own scores, higher = in-distribution", shared,
                    "oodgrid metrics --id id.csv --ood ood.csv --negate")  # fmt: skip
    metrics.add_argument("--id", required=True, type=Path, metavar="FILE",
                         help=".npy, .csv, .csv.gz or .parquet; of a table in results/*/scores, one set and fit: "
                         "FILE@dataset=NAME,shots=N,seed=N")  # fmt: skip
    metrics.add_argument("--ood", required=True, type=Path, metavar="FILE")
    metrics.add_argument("--score", metavar="NAME", help="column, where a file has several")
    metrics.add_argument("--negate", action="store_true", help="the files hold higher = out-of-distribution")
    metrics.add_argument("--json", action="store_true", help="fractions under the names of metrics.parquet")
    listing = _verb(verbs, "list", _list, "what exists", shared, "oodgrid list scores")
    listing.add_argument("what", choices=("scores", "methods", "datasets", "backbones", "label_lists"))
    inspect = _verb(verbs, "inspect", _inspect, "what a results file holds and where it comes from", shared,
                    "oodgrid inspect results/features/tiny/concepts/test.h5")  # fmt: skip
    inspect.add_argument("file", type=Path)
    verify = _verb(verbs, "verify", _verify, "check the checksums of results files, and the images behind them", shared,
                   "oodgrid verify results/features/tiny/*/*.h5 --sources")  # fmt: skip
    verify.add_argument("files", type=Path, nargs="+")
    verify.add_argument("--sources", action="store_true", help="also compare names, sizes and times of the images")
    verify.add_argument("--deep", action="store_true", help="also compare the SHA-256 of every image")
    _verb(verbs, "schema", _schema, "the JSON schema of an experiment file", shared, "oodgrid schema")
    _verb(verbs, "unlock", _unlock, "remove the lock of a killed snakemake, if none is running here", shared,
          "oodgrid unlock")  # fmt: skip


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


# ---------------------------------------------------------------------------------------------------- helpers


def _experiment(options: argparse.Namespace):  # noqa: ANN202 (its type is a heavy import)
    from oodgrid.config import load

    return load(options.config)


def _chosen(name: str | None, every: Iterable, find: Callable) -> list:
    return [find(name)] if name else list(every)


def _slug(name: str | None) -> str:
    import re

    from oodgrid.config import SLUG

    if name is None:
        raise OodgridError("say under which names to import: --backbone NAME --dataset NAME")
    if not re.fullmatch(SLUG.strip("^$"), name):
        raise OodgridError(f"'{name}' is no name: use letters, digits, dot, dash and underscore")
    return name


def _say(*paths: Path) -> None:
    for path in paths:
        print(f"wrote {path}")


def _params(entry: Entry) -> str:
    """Return the parameters with their defaults; a list of labels that must be named has none."""
    needed = [name for name in entry.label_lists if entry.params[name] is None]
    said = [name if name in needed else f"{name}={value}" for name, value in entry.params.items()]
    return ", ".join(said) or "-"


def _table(header: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in [header, *lines]) for i in range(len(header))]
    for row in [header, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
