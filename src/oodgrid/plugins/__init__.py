"""Scores and methods from outside the package: Python files that a configuration names, and installed entry points.

It is somebody else's code: a file runs in another process first (`apart`), may not change the state of this process
(`state`), and whatever it raises becomes one line (`wording`). `sources` are the files that decide its numbers.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from oodgrid.errors import OodgridError
from oodgrid.identity import file_sha256, is_file
from oodgrid.plugins import apart, state
from oodgrid.plugins.sources import check_names, fingerprint, remember
from oodgrid.plugins.wording import described, line_of

__all__ = ["described", "fingerprint", "line_of", "load", "load_installed", "loading"]

GROUP = "oodgrid.plugins"
PREFIX = "oodgrid_plugins"
_LOADING: list[Path] = []  # the file that runs now is the last: a plugin may load another


def load(file: Path) -> None:
    """Run a Python file, whose decorators register its scores and methods: first in another process, then here.

    `import x` finds files beside it, as where Python runs it as a script, and `from . import x` does too.

    Raises:
        OodgridError: There is no such file; or it fails, ends the program, does not end, or changes what belongs to
            all. The message names the file and the line.
    """
    if not is_file(file):
        raise OodgridError(f"plugin {file}: no such file; paths start where snakemake is run, {Path.cwd()}")
    name = re.sub(r"\W", "_", file.stem)
    spec = spec_from_file_location(f"{_package(file.resolve().parent)}.{name}", file)
    if file.suffix != ".py" or spec is None or spec.loader is None:
        raise OodgridError(f"plugin {file} is no Python file: its name must end in .py")
    _try_apart(file, file_sha256(file))
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where decorators and fingerprints of code find it
    if str(file.resolve().parent) not in sys.path:
        sys.path.append(str(file.resolve().parent))
    before, known = state.namespaces(), set(sys.modules)
    try:
        with state.restored(file), _being_loaded(file):
            spec.loader.exec_module(module)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not apart.inside():
            raise
        raise OodgridError(f"plugin {file}{line_of(error, file)}: {described(error)}") from error
    if replaced := state.replaced(before):
        raise OodgridError(
            f"plugin {file} replaces {replaced}, which belongs to all: let it define functions under other names"
        )
    remember(file, set(sys.modules) - known)
    check_names(file)


def loading() -> Path | None:
    """Return the plugin that is being loaded; None while the package registers its scores and methods."""
    return _LOADING[-1] if _LOADING else None


@cache
def load_installed() -> None:
    """Import every module that an installed package names in the entry point group `oodgrid.plugins`.

    Raises:
        OodgridError: One fails; the message names it.
    """
    for point in entry_points(group=GROUP):
        try:
            spec = find_spec(point.module)
            file = Path(spec.origin) if spec and spec.origin else Path(point.module)
            with state.restored(file), _being_loaded(file):
                point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise OodgridError(f"plugin {point.value} of an installed package: {described(error)}") from error


@cache
def _try_apart(file: Path, digest: str) -> None:
    apart.run("oodgrid.registry:load_plugin", file, doing=f"plugin {file}: loading it")


@contextmanager
def _being_loaded(file: Path) -> Iterator[None]:
    _LOADING.append(file)
    try:
        yield
    finally:
        _LOADING.pop()


def _package(folder: Path) -> str:
    """Return the name of a package that stands for a folder, so that `from . import x` finds the files in it."""
    name = f"{PREFIX}.{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
    for each, path in ((PREFIX, []), (name, [str(folder)])):
        if each not in sys.modules:
            sys.modules[each] = ModuleType(each)
            sys.modules[each].__path__ = path
    return name
