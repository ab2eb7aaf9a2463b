"""What the verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
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


def say(*paths: Path) -> None:
    """Print which files were written."""
    for path in paths:
        print(f"wrote {path}")
