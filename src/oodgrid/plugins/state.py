"""Watches and restores what all code of a process shares, so that a plugin changes it for nobody else."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

OURS = "oodgrid"
SHARED_MODULES = (  # with which scores compute
    *("builtins", "math", "random", "numpy", "numpy.linalg", "numpy.random"),
    *("scipy.linalg", "scipy.sparse", "scipy.spatial.distance", "scipy.special", "scipy.stats"),
)


@contextmanager
def restored(file: Path) -> Iterator[None]:
    """Run the code of a file; afterwards the process is as before in all that `settings` names.

    The command line that the code sees is that of a script without arguments, and what it prints goes to stderr:
    `snakemake --dag` and others print what programs read. No bytecode is left, for what is edited twice in a second
    would run as it was first.
    """
    argv, before, writes = sys.argv, settings(), sys.dont_write_bytecode
    sys.argv, sys.dont_write_bytecode = [str(file)], True
    try:
        with redirect_stdout(sys.stderr), np.errstate(), warnings.catch_warnings():
            yield
    finally:
        sys.argv, sys.dont_write_bytecode = argv, writes
        os.chdir(before["the working directory"])
        if dict(os.environ) != before["the environment"]:
            os.environ.clear()
            os.environ.update(before["the environment"])
        random.setstate(before["the state of random"])
        np.random.set_state(before["the state of numpy.random"])  # noqa: NPY002 (the global one is meant)
        sys.setrecursionlimit(before["the limit of recursion"])


def settings() -> dict[str, Any]:
    """Return the shared settings of the process, each by a name for messages."""
    _import_shared()
    return {
        "NumPy's error state": np.geterr(),
        "the working directory": Path.cwd(),
        "the environment": dict(os.environ),
        "the state of random": random.getstate(),
        "the state of numpy.random": np.random.get_state(),  # noqa: NPY002 (the global one is meant)
        "the filters of warnings": list(map(str, warnings.filters)),
        "stdout or stderr": (id(sys.stdout), id(sys.stderr)),
        "the limit of recursion": sys.getrecursionlimit(),
    }


def changed(before: dict[str, Any]) -> str:
    """Return the names of the settings that are no longer as before; "" where all are."""
    return ", ".join(name for name, value in settings().items() if not _same(value, before[name]))


def namespaces() -> dict[str, tuple[int, ...]]:
    """Return the identity of every object in the modules and classes of this package, and in `SHARED_MODULES`."""
    _import_shared()
    identities: dict[str, tuple[int, ...]] = {}
    for name, module in list(sys.modules.items()):
        ours = name.split(".")[0] == OURS
        if isinstance(module, ModuleType) and (ours or name in SHARED_MODULES):
            for key, value in list(vars(module).items()):
                if key[:2] == "__":
                    continue
                identities[f"{name}.{key}"] = _identity(value)
                if isinstance(value, type) and value.__module__ == name and ours:
                    identities |= {
                        f"{name}.{key}.{k}": _identity(v) for k, v in list(vars(value).items()) if k[:2] != "__"
                    }
    return identities


def replaced(before: dict[str, tuple[int, ...]]) -> str:
    """Return the first name that stands for another object than before; "" where there is none."""
    now = namespaces()
    return next((name for name, identity in before.items() if now.get(name, identity) != identity), "")


@cache
def _import_shared() -> None:
    """Import what is compared, before somebody else's code does.

    Otherwise a plugin that is the first to import SciPy would be blamed for what SciPy does to the filters of warnings,
    and what a plugin replaces in a module that it is the first to import would go unseen.
    """
    for name in SHARED_MODULES:
        import_module(name)


def _identity(value: Any) -> tuple[int, ...]:
    return tuple(map(id, (value, getattr(value, "__code__", None), getattr(value, "__defaults__", None))))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other
