"""Writes signature and docstring of a score as a function of arrays."""

from __future__ import annotations

import inspect
import re
from inspect import Parameter, Signature

import numpy as np

from oodgrid.registry import Entry
from oodgrid.scores.arguments import TEXT_LIST, Argument, of_needs
from oodgrid.signatures import STATE

# the caller chooses the samples, their order, and what becomes of them
NOT_HERE = ("bank", "order", "stream", "corruptions", "corruption_seed")


def signature(entry: Entry) -> Signature:
    """Return the arguments of a score: the arrays that it needs in their order, then its parameters by name."""
    must, may = of_needs(entry.needs)
    positional = [Parameter(each.name, Parameter.POSITIONAL_OR_KEYWORD) for each in must]
    lists = [Parameter(name, Parameter.KEYWORD_ONLY) for name in entry.label_lists]
    optional = [Parameter(each.name, Parameter.KEYWORD_ONLY, default=None) for each in may]
    params = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default)
        for name, default in entry.params.items()
        if name not in (*NOT_HERE, *entry.label_lists)
    ]
    params += [Parameter(STATE, Parameter.KEYWORD_ONLY, default=None)] * entry.keeps_state
    return Signature([*positional, *lists, *optional, *params], return_annotation=np.ndarray)


def docstring(entry: Entry) -> str:
    """Return the docstring of a score with the arguments of `signature` in place of those of the score."""
    about, described, rest = _parts(inspect.getdoc(entry.make) or "")
    must, may = of_needs(entry.needs)
    arrays = {each.name: _description(each) for each in (*must, *may)}
    lists = {
        name: f"{_shape(TEXT_LIST)}: texts beside the classes. {described.get(name, '')}" for name in entry.label_lists
    }
    taken = {*arrays, *lists}
    params = {name: described.get(name, "") for name in signature(entry).parameters if name not in taken}
    entries = {
        **{each.name: arrays[each.name] for each in must},
        **lists,
        **{e.name: arrays[e.name] for e in may},
        **params,
    }
    args = "\n".join(f"    {name}: {text}".rstrip() for name, text in entries.items())
    stream = ["The samples are a stream, in the order given: the value of one depends on those before it."]
    parts = [about, *stream * entry.transductive, f"Args:\n{args}", rest, f"See {entry.paper}." * bool(entry.paper)]
    return "\n\n".join(filter(None, parts))


def _parts(doc: str) -> tuple[str, dict[str, str], str]:
    """Return a docstring of Google's style as what stands before its arguments, these, and what comes after."""
    about, _, behind = doc.partition("\n\nArgs:\n")
    args, _, rest = behind.partition("\n\n")
    sections = re.split(r"^ {4}(\w+): ", args, flags=re.MULTILINE)
    return about, dict(zip(sections[1::2], map(str.rstrip, sections[2::2]), strict=True)), _raised(rest)


def _raised(rest: str) -> str:
    """Return the sections on returns and raises: here, one that makes no sense is an error like others."""
    returns, _, skips = rest.partition("\n\nRaises:\n")
    reasons = skips.strip().removeprefix("Skip: ")
    return f"{returns}\n\nRaises:\n    OodgridError: An array does not fit. {reasons}".rstrip()


def _description(argument: Argument) -> str:
    return f"{_shape(argument.shapes)}. {argument.about}" if argument.shapes else argument.about


def _shape(shapes: tuple[str, ...]) -> str:
    tuples = [f"({', '.join(each)}{',' * (len(each) == 1)})" for each in shapes]
    return f"Shape {' or '.join(tuples)}"
