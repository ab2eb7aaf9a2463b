"""Reads and checks what a registered class or function declares by its signature and docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

from oodgrid import streams, texts
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, unknown

# What depends on the method.
OF_METHOD = {
    *("logits", "head", "negative_logits", "local_logits", "local_negative_logits", "pair_logits"),
    "corrupted_logits",
}
STATE = "state"
NEEDS = (
    *sorted(OF_METHOD),
    "features",
    "layer_features",
    "corrupted_features",
    "pair_texts",
    "bank",
    "val",
    "text_tower",
)  # of scores, beside the kinds of `texts`


@dataclass(frozen=True)
class ListName:
    """Marks a parameter for which a configuration names a label list, and of which the score is given the texts.

    Attributes:
        default: The list that is meant where none is named; None where one must be named.
    """

    default: str | None = None


LabelList = Annotated[Any, ListName()]  # of plugins; our own scores have the type with `score.contract.TextList`


def check_signature(name: str, make: Callable, needs: tuple[str, ...], transductive: bool) -> None:
    """Compare what a score declares that it needs with the arguments that its function takes.

    Raises:
        OodgridError: They differ, or a need is none, or a transductive score has no order.
    """
    if not isinstance(needs, tuple) or not needs:
        raise OodgridError(f"score {name}: needs is a tuple of names, as needs=('logits',), not {needs!r}")
    known = (*NEEDS, *texts.needs())
    for need in needs:
        for each in str(need).split("|"):
            if each not in known:
                raise unknown(f"need of score {name}", each, known)
    parameters = list(inspect.signature(make).parameters.values())
    positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    if len(positional) != len(needs):
        raise OodgridError(
            f"score {name} needs {', '.join(needs)} but takes {counted(len(positional), 'argument')} before its "
            "parameters: one "
            "for each need, in that order; parameters come after *"
        )
    orders = [p.default for p in parameters if p.name == "order"]
    if transductive and not any(isinstance(order, int) and order >= 0 for order in orders):
        raise OodgridError(f"score {name} is transductive: it needs a parameter order: int = 0, the stream's seed")
    if transductive and any(p.name == "stream" and p.default != streams.MIXED for p in parameters):
        raise OodgridError(
            f"score {name}: the parameter stream is the protocol of the stream: let its default be mixed"
        )


def keeps_state(make: Callable) -> bool:
    """Return whether a transductive score takes a `state`, the dict of arrays in which it remembers a stream."""
    return STATE in inspect.signature(make).parameters


def check_default(what: str, default: Any) -> None:
    """Refuse a parameter, called `what`, whose default cannot be written in a configuration.

    Raises:
        OodgridError: There is none, or it is no number, word, true, false, none or tuple of these.
    """
    if default is inspect.Parameter.empty or default is MISSING:
        raise OodgridError(f"{what} has no default")
    values = default if isinstance(default, tuple) else (default,)
    if not all(value is None or isinstance(value, bool | int | float | str) for value in values):
        raise OodgridError(f"{what} has the default {default!r}: a number, a word, true, false or none can be written")


def summary(make: Callable) -> str:
    """Return the first line of the docstring."""
    return (inspect.getdoc(make) or "").split("\n", 1)[0]


def defaults(make: Callable) -> dict[str, Any]:
    """Return the parameters with their defaults: fields of a dataclass, keyword-only arguments of a function.

    An argument `state` is none: see `keeps_state`.
    """
    if is_dataclass(make):
        return {field.name: field.default for field in fields(make)}
    parameters = inspect.signature(make).parameters.values()
    keyword_only = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name != STATE]
    values = {p.name: p.default for p in keyword_only}
    if any(value is inspect.Parameter.empty for value in values.values()):
        lists = label_lists(make)
        values |= {
            name: lists[name] for name, value in values.items() if name in lists and value is inspect.Parameter.empty
        }
    return values


def label_lists(make: Callable) -> dict[str, str | None]:
    """Return the parameters of the type `LabelList`, each with the name of the list that it has by default."""
    hints = get_type_hints(make, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: mark.default for name, each in marks.items() for mark in each if isinstance(mark, ListName)}
