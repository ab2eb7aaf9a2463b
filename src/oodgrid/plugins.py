"""Scores and methods from outside the package: Python files that a configuration names, and installed entry points."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from oodgrid.errors import OodgridError

GROUP = "oodgrid.plugins"
PREFIX = "oodgrid_plugins"


def load(file: Path) -> str:
    """Run a Python file, whose decorators register its scores and methods, and return the name of its module.

    Raises:
        OodgridError: There is no such file, or it fails; the message names the file and the line.
    """
    if not file.is_file():
        raise OodgridError(f"plugin {file}: no such file; paths start where snakemake is run, {Path.cwd()}")
    place = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"{PREFIX}.{place}.{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where decorators and fingerprints of code find it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise OodgridError(f"plugin {file}{line_of(error, file)}: {described(error)}") from error
    return spec.name


@cache
def load_installed() -> None:
    """Import every module that an installed package names in the entry point group `oodgrid.plugins`.

    Raises:
        OodgridError: One fails; the message names it.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            raise OodgridError(f"plugin {point.value} of an installed package: {described(error)}") from error


def line_of(error: BaseException, file: Path) -> str:
    """Return ", line N" of the innermost place in a file at which an error arose; "" where it did not."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == file.name]
    return f", line {lines[-1]}" if lines else ""


def described(error: BaseException) -> str:
    """Return an error of somebody else's code as part of one line."""
    said = str(error.msg if isinstance(error, SyntaxError) else error).strip().split("\n")[0]
    return said if isinstance(error, OodgridError) else f"{type(error).__name__}: {said}"
