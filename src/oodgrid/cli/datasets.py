"""Real datasets: what is there, what is missing, and fetching it."""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

from oodgrid.cli.common import print_table
from oodgrid.counts import counted
from oodgrid.errors import OodgridError

WIDTH = 110


def run_datasets(options: argparse.Namespace) -> None:
    """Say which real datasets lie below a folder, or what is known of some."""
    from oodgrid.catalogue import real

    if options.config and options.names:
        raise OodgridError(
            f"--config names the datasets: take out {' '.join(options.names)}, or take out --config {options.config}"
        )
    asked = options.names or list(real.names())
    for name in asked:
        real.real_set(name)  # refuse an unknown one before the others take their time
    if options.config:
        _of_experiment(options)
    elif options.root:
        _below(options.root, [(name, options.root, None) for name in asked])
    elif options.names:
        for name in asked:
            _describe(name)
    else:
        _list()


def run_fetch(options: argparse.Namespace) -> None:
    """Fetch datasets, one after another."""
    from oodgrid.catalogue import real
    from oodgrid.encode.real.fetching import fetch

    for name in options.names:
        real.real_set(name)
    for name in options.names:
        status = fetch(name, options.root, options.keep_archives)
        print(f"{name}: {status.state}{f' in {status.where}' * bool(status.where)}")
        if not status.is_there:
            raise OodgridError(f"{name} is not whole: {'; '.join(status.lacks) or 'see oodgrid datasets'}")


def _of_experiment(options: argparse.Namespace) -> None:
    """Say it of the real datasets that an experiment names."""
    from oodgrid.config import expand, load

    experiment = load(options.config)
    places = {
        dataset.real_name: (dataset.real_name, expand(str(dataset.root)), dataset.split_names)
        for dataset in reversed(list(experiment.datasets()))
        if dataset.root
    }
    if not places:
        raise OodgridError(
            f"{options.config} names no dataset of root: oodgrid check {options.config} looks at the others"
        )
    _below(options.root, [(name, options.root or root, splits) for name, root, splits in places.values()])


def _below(root: Path | None, places: list[tuple[str, Path, tuple[str, ...] | None]]) -> None:
    from oodgrid.encode.real.status import UNCLEAR, how_to_get, status_of

    if root is not None and not root.is_dir():
        raise OodgridError(f"{root} does not exist: --root names the folder that holds, or will hold, your datasets")
    statuses = [(status_of(name, place, splits), place) for name, place, splits in places]
    rows = [(status, status.where or how_to_get(status.name, place)) for status, place in statuses]
    rows = [(status, "said below" if status.state == UNCLEAR else where) for status, where in rows]
    print_table(
        ("dataset", "state", "where, or how to get it"),
        [(status.name, status.state, _short(where)) for status, where in rows],
    )
    for status, _ in statuses:
        for line in status.lacks:
            print(f"oodgrid: {status.name}: {line}".replace(f": dataset {status.name}:", ":"), file=sys.stderr)


def _list() -> None:
    from oodgrid.catalogue import real
    from oodgrid.encode.real.status import how_to_get

    rows = []
    for name in real.names():
        entry = real.real_set(name)
        splits = ", ".join(f"{split} {count:,}" if count else split for split, count in entry.splits.items())
        rows.append((name, entry.use, splits, _short(how_to_get(name), 60)))
    print_table(("dataset", "use", "splits", "how to get it"), rows)
    print("\noodgrid datasets NAME says more of one, oodgrid datasets --root FOLDER what is there.")


def _describe(name: str) -> None:
    """Print what the catalogue knows of a dataset."""
    from oodgrid import catalogue
    from oodgrid.catalogue import real
    from oodgrid.encode.real.status import how_to_get

    entry, classes = real.real_set(name), list(real.class_keys(name).values())
    print(f"{name}: {entry.title} ({entry.paper})")
    counts = [
        (split, counted(count, "text" if real.holds_texts(name) else "image") if count else "as many as there are")
        for split, count in entry.splits.items()
    ]
    lines = [("home", entry.home), ("licence", entry.licence), ("get", how_to_get(name))]
    lines += [("", step) for step in entry.get[1:]]
    lines += [("split", f"{split}: {count}") for split, count in counts]
    lines += [("classes", f"{len(classes)}, as {', '.join(classes[:4])}")] if classes else []
    lines += [("templates", f"{who}: {len(all_)}, as {all_[0]!r}") for who, all_ in real.prompts(name).items()]
    lines += [("read as", layout.name) for layout in real.layouts(name)]
    lines += [("trap", trap) for trap in entry.traps]
    lines += [("overlap", f"{other}: {why}") for other, why in sorted(catalogue.overlaps_of(name).items())]
    for what, text in lines:
        print(textwrap.fill(text, WIDTH, initial_indent=f"  {what:<10}", subsequent_indent=" " * 12))


def _short(text: str, most: int = 100) -> str:
    return textwrap.shorten(text, most, placeholder=" …")
