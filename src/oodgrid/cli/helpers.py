"""The verbs beside the stages."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodgrid.cli.common import print_table, say, slug
from oodgrid.counts import counted, plural
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.measures import Measure
    from oodgrid.registry import Entry


def run_import(options: argparse.Namespace) -> None:
    """Bring in features or texts that somebody else computed."""
    from oodgrid.encode import importing

    if options.format == "experiment":
        from oodgrid.config import load

        say(*importing.import_experiment(options.results, load(options.source)))
        return
    if options.dataset and options.label_list:
        raise OodgridError("--dataset and --label-list: text features are of classes or of a list, not of both")
    name = options.dataset if options.label_list is None else options.label_list
    where = (options.results, slug(options.backbone), slug(name))
    if options.format == "tip-adapter":
        say(*importing.import_tip_adapter(*where, options.source, options.test))
    elif options.format == "text":
        of_list = options.label_list is not None
        say(importing.import_text(*where, options.source, options.classnames, options.template, of_list))
    elif options.format == "npy":
        say(*importing.import_npy(*where, options.source, options.labels, options.paths, options.split))
    elif options.format == "clip-retrieval":
        say(*importing.import_clip_retrieval(*where, options.source, options.split, options.label))
    else:
        say(*importing.import_arrays(*where, options.source, options.split))
    key = "id_datasets" if options.label_list is None else "label_lists"
    print(f"oodgrid: {importing.named_in_config(options.backbone, name, key)}", file=sys.stderr)


def run_export(options: argparse.Namespace) -> None:
    """Write a feature or text file in another format."""
    from oodgrid.encode.exporting import export

    say(export(options.file, options.out, options.force))


def run_metrics(options: argparse.Namespace) -> None:
    """Print metrics of anybody's own scores."""
    from oodgrid.evaluate.score_files import Dialect, advice, compare_each, format_rows, format_table

    def say(line: str) -> None:
        print(line, file=sys.stderr if options.json else sys.stdout)

    dialect = Dialect(options.header, options.decimal, options.separator)
    rows = compare_each(options.id, options.ood, options.score, options.negate, dialect, say, options.recall)
    names = list(map(str, options.ood))
    if options.json:
        named = [{"ood": name, **row} for name, row in zip(names, rows, strict=True)]
        print(json.dumps(rows[0] if len(rows) == 1 else named, indent=1))
        if hint := advice(rows, options.negate):
            say(hint)
    elif len(rows) == 1:
        print(format_table(rows[0], options.negate))
    else:
        print(format_rows(names, rows, options.negate))


def run_list(options: argparse.Namespace) -> None:
    """Print what exists."""
    from oodgrid import catalogue, registry
    from oodgrid.catalogue import real

    kind = options.what.removesuffix("s")
    if options.config:
        _load_plugins(options)
    if options.short and kind not in registry.PACKAGES:
        raise OodgridError(f"--short is for scores and methods: leave it out of oodgrid list {options.what}")
    if kind == "metric":
        _list_metrics()
        return
    if kind not in registry.PACKAGES:
        lines = [(name, json.dumps(_brief(entry))) for name, entry in catalogue.entries(kind).items()]
        if kind == "dataset":
            lines += [(name, f"{real.real_set(name).title}: oodgrid datasets {name}") for name in real.names()]
        print_table(("name", "entry"), lines)
        return
    entries = sorted(registry.entries(kind).values(), key=lambda entry: (entry.family, entry.name))
    if options.short:
        print_table(
            ("name", "needs", "looks at"),
            [
                (
                    entry.name,
                    ", ".join(entry.needs) or "nothing",
                    ", ".join(entry.looks_at if kind == "score" else ()) or "-",
                )
                for entry in entries
            ],
        )
        return
    for entry in entries:
        title = f" ({entry.title})" if entry.title != entry.name else ""
        print(f"{entry.name}{title}", *_wrapped(*_described(entry)), sep="\n")
    missing = registry.excluded(kind)
    if missing:
        print("\nNot on cached features, and why:", *_wrapped(*(f"{k}: {v}" for k, v in missing.items())), sep="\n")


def _load_plugins(options: argparse.Namespace) -> None:
    """Register the plugins of a config, whatever else may be wrong with it."""
    from oodgrid.config import load_plugins, read_config_file
    from oodgrid.registry import PACKAGES

    if options.what.removesuffix("s") not in PACKAGES:
        raise OodgridError(f"--config is for scores and methods, and plugins bring no {options.what}: leave it out")
    load_plugins(read_config_file(options.config))


def _list_metrics() -> None:
    """Print what every metric is, which way is better and who uses it."""
    from oodgrid.measures import MEASURES, OF_STREAMS, ON_REQUEST

    for measure in MEASURES.values():
        _print_metric(measure)
    print("\nOn request, of an experiment by metrics: [fpr@90], of your own scores by oodgrid metrics --recall 0.9:")
    for measure in ON_REQUEST:
        _print_metric(measure)
    print("\nOn request, of the scores of streams of an experiment, by metrics: [first@100]:")
    for measure in OF_STREAMS:
        _print_metric(measure)


def _print_metric(measure: Measure) -> None:
    better = [f"{measure.better} is better"] if measure.better else []
    about = [*better, *([] if measure.averaged else ["never averaged over OOD sets"])]
    print(f"{measure.name} ({measure.title})")
    print(*_wrapped(measure.definition, "; ".join(about), measure.used_by), sep="\n")


def _described(entry: Entry) -> list[str]:
    """Return the lines that describe a method or score."""
    kind = [f"family: {entry.family}" if entry.family else "", "transductive" if entry.transductive else ""]
    return [
        entry.summary,
        f"needs: {', '.join(entry.needs) or 'nothing'}",
        *([f"looks at: {', '.join(entry.looks_at)}"] if entry.kind == "score" and entry.looks_at else []),
        f"parameters: {_params(entry)}",
        *filter(None, ["; ".join(filter(None, kind)), entry.adapted and f"adapted: {entry.adapted}"]),
        entry.paper,
        *([f"plugin: {entry.plugin}"] if entry.plugin else []),
    ]


def _brief(thing: Any) -> Any:
    """Return an entry of the catalogue with its longer lists cut."""
    if isinstance(thing, dict):
        return {key: _brief(value) for key, value in thing.items()}
    return [*thing[:3], f"… {len(thing)} in all"] if isinstance(thing, list) and len(thing) > 5 else thing


def _wrapped(*texts: str) -> list[str]:
    """Return texts as indented lines that fit the terminal."""
    width = max(60, shutil.get_terminal_size((110, 24)).columns - 1)
    wrap = textwrap.TextWrapper(width, initial_indent="    ", subsequent_indent="      ")
    return [line for text in texts for line in wrap.wrap(text)]


def run_inspect(options: argparse.Namespace) -> None:
    """Print what a results file holds and where it comes from."""
    from oodgrid.inspection import describe

    print(describe(options.file))


def run_verify(options: argparse.Namespace) -> None:
    """Check results files, and print the state of each."""
    from oodgrid.inspection import checkable

    wrong, files = 0, [file for path in options.files for file in checkable(path)]
    for file in files:
        state, remark = _verified(file, options)
        wrong += state != "ok"
        print(f"{state:8}{remark}")
    if wrong:
        raise OodgridError(
            f"{wrong:,} of {counted(len(files), 'file')} {plural(wrong, 'is', 'are')} damaged or out of date "
            "(named above)"
        )


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


def run_schema(options: argparse.Namespace) -> None:
    """Print the JSON schema of an experiment file."""
    from oodgrid.config import schema

    print(json.dumps(schema(), indent=1))


def run_unlock(options: argparse.Namespace) -> None:
    """Remove the lock of a killed snakemake."""
    from oodgrid.unlock import remove_stale_lock

    remove_stale_lock(Path.cwd())


def _params(entry: Entry) -> str:
    """Return the parameters with their defaults; a list of labels that must be named has none."""
    needed = [name for name in entry.label_lists if entry.params[name] is None]
    shown = [name if name in needed else f"{name}={value}" for name, value in entry.params.items()]
    return ", ".join(shown) or "-"
