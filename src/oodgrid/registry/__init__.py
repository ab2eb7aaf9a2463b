"""What exists: fine-tuning methods and scores, each registered by a decorator in a file of its own.

The registry knows no method and no score by name. A thing is looked for in the module of its name, and where all are
wanted, every module of the package where a kind lives is imported, as a plug-in host does; the decorators below fill
it. Those modules must be cheap to import (numpy at most): every job imports those that it names, and validating a
configuration imports all that it names. `oodgrid.plugins` brings others.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from oodgrid import plugins, signatures
from oodgrid.errors import SENTENCE, OodgridError, all_of, brief, one_line, unknown
from oodgrid.identity import code_fingerprint, computing_fingerprint
from oodgrid.look import Look
from oodgrid.registry.banks import SHOTS
from oodgrid.registry.entry import Entry
from oodgrid.registry.rules import ANY, check_entry

__all__ = [
    "ANY",
    "PACKAGES",
    "Entry",
    "LabelList",
    "check_params",
    "entries",
    "excluded",
    "find",
    "fit_code",
    "load_plugin",
    "method",
    "score",
    "score_code",
    "variant",
]
UNSAFE = r"[^\w.+-]+"
LabelList = signatures.LabelList  # the type of a plugin's parameter for which the configuration names a label list
PACKAGES = {"method": "oodgrid.adapt.methods", "score": "oodgrid.score.scores"}
_ENTRIES: dict[str, dict[str, Entry]] = {kind: {} for kind in PACKAGES}


def method(
    *,
    leaves: str,
    needs: tuple[str, ...] = (),
    paper: str = "",
    text_cosines: bool = False,
    title: str = "",
    look: str = "",
    normalises: bool = True,
    one_class: bool = False,
    negatives: bool = False,
) -> Callable[[type], type]:
    """Register a fine-tuning method: a frozen dataclass whose fields are its hyper-parameters.

    The name under which it is listed is the name of its file. See `oodgrid.adapt.contract` for what such a
    class must offer, and `Entry` for the arguments; `one_class`: whether it does not learn to tell classes apart.
    """

    def register(cls: type) -> type:
        if not is_dataclass(cls):
            raise TypeError(f"{cls.__qualname__} must be a dataclass: its fields are its hyper-parameters")
        name = cls.__module__.rsplit(".", 1)[-1]
        params, summary = signatures.defaults(cls), signatures.summary(cls)
        parsed = Look.parse(look) if look else None
        _add(
            Entry("method", name, cls, needs, params, leaves, paper, summary, text_cosines=text_cosines,
                  title=title or name, look=parsed, normalises=normalises, one_class=one_class, negatives=negatives)
        )  # fmt: skip
        return cls

    return register


def score(
    *,
    needs: tuple[str, ...],
    paper: str = "",
    family: str = "",
    transductive: bool = False,
    adapted: str = "",
    title: str = "",
    one_class: bool | None = None,
    bank_logits: bool = False,
) -> Callable[[Callable], Callable]:
    """Register a score: a function of what it needs, in that order, with keyword-only parameters.

    It returns one float64 a sample, shape (N,), higher = more in-distribution. The name under which it is
    listed is the name of the function. What may be needed: `oodgrid.score.contract`; of a need written "val|bank" the
    score is given the first that there is. The other arguments: `Entry`; `one_class`: whether it says something where
    there is one class alone, by default where it needs no logits, or compares them with other texts.
    """

    def register(function: Callable) -> Callable:
        name, params, about = function.__name__, signatures.defaults(function), signatures.summary(function)
        signatures.check_signature(name, function, needs, transductive)
        more = (family, transductive, adapted)
        _add(
            Entry("score", name, function, needs, params, "", paper, about, *more, title=title or name,
                  one_class=one_class, bank_logits=bank_logits)
        )  # fmt: skip
        return function

    return register


def entries(kind: str) -> dict[str, Entry]:
    """Return every registered entry of a kind by name, importing the modules that hold them."""
    _import_all(PACKAGES[kind])
    plugins.load_installed()
    return _ENTRIES[kind]


@cache
def _import_all(package: str) -> None:
    for module in _modules(package):
        importlib.import_module(f"{package}.{module}")


@cache
def _modules(package: str) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]


def load_plugin(file: Path) -> None:
    """Register the scores and methods of a Python file.

    Raises:
        OodgridError: It fails, or has none, or is no good neighbour: see `oodgrid.plugins.load`.
    """
    file = Path(file)
    before = {kind: dict(entries(kind)) for kind in PACKAGES}  # first: the file cannot take a name that is taken
    plugins.load(file)
    if any(_ENTRIES[kind].get(name) is not entry for kind in before for name, entry in before[kind].items()
           if entry.plugin != file):  # fmt: skip
        raise OodgridError(f"plugin {file} takes a registered method or score away: it may add its own only")
    if not any(entry.plugin == file for known in _ENTRIES.values() for entry in known.values()):
        raise OodgridError(f"plugin {file} registers no score and no method: put @score(needs=…) above a function")


def find(kind: str, name: str) -> Entry:
    """Return the entry of that name, importing the module of that name alone where the package has it.

    Raises:
        OodgridError: There is none; the message has a did-you-mean.
    """
    known = _ENTRIES[kind]
    if name not in known:
        if name in _modules(PACKAGES[kind]):
            importlib.import_module(f"{PACKAGES[kind]}.{name}")
        if name not in known:
            known = entries(kind)
    if name in excluded(kind):
        raise OodgridError(f"{kind} {name} does not run on cached features: {excluded(kind)[name]}")
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]


@cache
def excluded(kind: str) -> dict[str, str]:
    """Return the names of known methods or scores that are not here, each with the reason."""
    return getattr(importlib.import_module(PACKAGES[kind]), "EXCLUDED", {})


def fit_code(name: str) -> str:
    """Return the fingerprint of the code that decides what a method learns."""
    entry = find("method", name)
    return code_fingerprint("oodgrid.adapt.fit", entry.make.__module__) + _plugin_code(entry)


def score_code(name: str) -> str:
    """Return the fingerprint of what computes a score: its code, that of all scores, and the libraries of both."""
    entry = find("score", name)
    return computing_fingerprint("oodgrid.score.values", entry.make.__module__) + _plugin_code(entry)


def check_params(kind: str, name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters converted to their declared types.

    Raises:
        OodgridError: The name or a parameter does not exist, a value has the wrong type, or they do not go together.
    """
    entry = find(kind, name)
    checked: dict[str, Any] = {}
    all_of(*(partial(_check_param, entry, key, value, checked) for key, value in params.items()))
    if hasattr(entry.make, "__post_init__"):  # which is where a method refuses parameters that do not go together
        try:
            entry.make(**checked)
        except (OodgridError, TypeError, ValueError) as error:
            raise OodgridError(f"{kind} {name}: {one_line(error)}") from None
    return checked


def _check_param(entry: Entry, key: str, value: Any, checked: dict[str, Any]) -> None:
    if key not in entry.params:
        raise unknown(f"parameter of {entry.kind} {entry.name}", key, entry.params or ["none: it has no parameters"])
    # Strict, pydantic takes no true for 1; else it takes '3' for 3, which is how Snakemake's --config gives numbers.
    flags = isinstance(value, bool) or (isinstance(value, list) and any(isinstance(each, bool) for each in value))
    try:
        checked[key] = entry.adapter(key, flags).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        expected = first["msg"].removeprefix("Input should be ")
        expected = expected.replace("a valid tuple", "a list, as [a, b],")  # YAML has no other word for it
        expected += "" if first["type"] == SENTENCE else " is wanted"
        raise OodgridError(f"{entry.kind} {entry.name}: {key} = {brief(value)} does not fit: {expected}") from None


def variant(name: str, params: dict[str, Any], defaults: dict[str, Any]) -> str:
    """Return the name of a variant, as `mcm@T=0.5`: with the parameters that differ from the defaults.

    It names files too: characters that a shell or a file system could misread become a hyphen.
    """
    changed = [f"{key}={_named(value)}" for key, value in params.items() if value != defaults[key]]
    return f"{name}@{','.join(changed)}" if changed else name


def _named(value: Any) -> str:
    """Return a value as names of variants have it; words are joined by +."""
    if isinstance(value, float):
        return f"{value:g}"
    words = isinstance(value, tuple) and bool(value) and all(isinstance(each, str) for each in value)
    return re.sub(UNSAFE, "-", "+".join(value) if words else str(value))


def _plugin_code(entry: Entry) -> str:
    return plugins.fingerprint(entry.plugin) if entry.plugin else ""


def _add(entry: Entry) -> None:
    if not entry.make.__module__.startswith("oodgrid."):
        entry = replace(entry, plugin=plugins.loading())
    known = _ENTRIES[entry.kind]
    check_entry(entry, known)
    known[entry.name] = replace(entry, params=entry.params | {"bank": SHOTS}) if entry.uses_bank else entry
