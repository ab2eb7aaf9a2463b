"""What the verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.config import Experiment


def experiment_of(options: argparse.Namespace) -> Experiment:
    """Return the experiment that `--config` names."""
    from oodgrid.config import load
    from oodgrid.plan import check_planned

    check_planned(options.config)
    return load(options.config)


def chosen(name: str | None, every: Iterable, find: Callable) -> list:
    """Return the one thing of that name, or every one where no name was given."""
    return [find(name)] if name else list(every)


def slug(name: str | None) -> str:
    """Return a name under which to import, if it is one."""
    from oodgrid.config import wrong_name

    if name is None:
        raise OodgridError("say under which names to import: --backbone NAME --dataset NAME")
    if why := wrong_name(name):
        raise OodgridError(f"'{name}' is no name: {why}")
    return name


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = False) -> None:
    """Print rows in aligned columns; where they hold numbers, all columns but the first to the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [
            cell.rjust(width) if numbers else cell.ljust(width) for cell, width in zip(others, widths[1:], strict=True)
        ]
        print("  ".join([first.ljust(widths[0]), *cells]).rstrip())


def say(*paths: Path) -> None:
    """Print which files were written."""
    for path in paths:
        print(f"wrote {path}")
