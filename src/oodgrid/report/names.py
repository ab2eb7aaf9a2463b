"""How names look in print: titles, and a colour, line and marker a method, the same in every figure.

Registration says title and look. No two methods of an experiment share a marker, nor a colour and line, so that each is
told apart in print without colours too. A method of the package has one look for ever; a variant keeps its colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count, product
from typing import Any

import polars as pl

from oodgrid import registry
from oodgrid.config import ANY
from oodgrid.errors import OodgridError
from oodgrid.look import COLOURS, LINES, MARKS, Look
from oodgrid.report.select import bases

BLACK, GREY, BLUE, ORANGE = (COLOURS[name] for name in ("black", "grey", "blue", "orange"))
ANY_TITLE, ANY_LOOK = "Any method", Look(GREY, "h", ":")
KINDS = {"near": "Near OOD", "far": "Far OOD", "covariate": "Covariate shift"}
FPR_ID, FPR_OOD = "FPR95 (ID pos.)", "FPR95 (OOD pos.)"
CUT = 32  # letters of a title, past which figures have no room for it
METRICS = {"auroc": "AUROC", "fpr95_id_pos": FPR_ID, "fpr95_ood_pos": FPR_OOD}
BETTER = {"id_accuracy": "↑", "auroc": "↑", "fpr95_id_pos": "↓", "fpr95_ood_pos": "↓"}


@dataclass(frozen=True)
class Legend:
    """What stands for the methods and scores of some rows, by their names there: `coop@epochs=20` is CoOp (epochs=20).

    Attributes:
        methods: Titles, no two alike.
        scores: Titles, no two alike.
        looks: How the methods are drawn, no two alike. Past 32 methods markers return in other colours.
    """

    methods: dict[str, str]
    scores: dict[str, str]
    looks: dict[str, Look]

    @classmethod
    def of(cls, rows: pl.DataFrame) -> Legend:
        """Return the legend of rows with the columns method and score of metrics.parquet."""
        methods, scores = bases(rows, "method"), bases(rows, "score")
        return cls(_titles("method", methods), _titles("score", scores), _looks(methods))


def looked_at(rows: pl.DataFrame) -> dict[str, list[str]]:
    """Return what scores look at beside the sample, each with their titles, in the order of rows."""
    names = bases(rows, "score")
    known = _entries("score", names)
    found: dict[str, list[str]] = {}
    for base in dict.fromkeys(names.values()):
        for thing in (known[base].looks_at or ["nothing"]) if base in known else ():
            found.setdefault(thing, []).append(known[base].title)
    return found


def points(look: Look) -> dict[str, Any]:
    """Return matplotlib's options of a marker."""
    face = "white" if look.hollow else look.colour
    return {"marker": look.marker, "markerfacecolor": face, "markeredgecolor": look.colour, "markeredgewidth": 0.8}


def _titles(kind: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return what a reader sees for each name, no two alike: the name itself where another has that title."""
    known = _entries(kind, names)
    of_bases = {base: entry.title for base, entry in known.items()} | {ANY: ANY_TITLE}
    others = {base for base, entry in known.items() if not _is_ours(entry)}
    titles: dict[str, str] = {}
    for name, base in sorted(names.items(), key=lambda item: (item[0] != item[1], item[1] in others)):
        title, changed = of_bases.get(base, base), name[len(base) + 1 :]
        title = f"{title} ({changed})" if changed else title
        free = chain((title, name), (f"{name} ({number})" for number in count(2)))  # a name may be another's title
        titles[name] = next(each for each in free if each not in titles.values())
    return _numbered({name: titles[name] for name in names}, names)


def _numbered(titles: dict[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return titles with a number behind those that figures cut, where a method or score has several such.

    It goes by the order of the config, so that a row has one number in every figure, and tables say of what.
    """
    long: dict[str, list[str]] = {}
    for name, title in titles.items():
        long.setdefault(names[name], []).extend([name] * (len(title) > CUT))
    places = {name: place for group in long.values() if len(group) > 1 for place, name in enumerate(group, 1)}
    return {name: f"{title} #{places[name]}" if name in places else title for name, title in titles.items()}


def _looks(names: Mapping[str, str]) -> dict[str, Look]:
    """Return how methods are drawn, by their names, each with the name that it is registered by.

    Those of the package look as ever. The others, in order, take the look of their registration, or a marker, and a
    colour and line, that are still free: a variant those of its method's colour first.
    """
    known = _entries("method", names)
    registered = {base: entry.look for base, entry in known.items() if entry.look} | {ANY: ANY_LOOK}
    looks = {name: registered[name] for name in names if name in registered and (name == ANY or _is_ours(known[name]))}
    for name, base in names.items():
        if name not in looks:
            taken = list(looks.values())
            of_base = registered.get(base, looks.get(base))
            keeps = name in registered and _is_free(registered[name], taken)
            looks[name] = registered[name] if keeps else next(_free(of_base, taken))
    return looks


def _entries(kind: str, names: Mapping[str, str]) -> dict[str, registry.Entry]:
    """Return what registration says of names, by the names that they are registered by; nothing of strange ones."""
    entries = {}
    for base in set(names.values()) - {ANY}:
        with suppress(OodgridError):
            entries[base] = registry.find(kind, base)
    return entries


def _is_ours(entry: registry.Entry) -> bool:
    return entry.make.__module__.startswith("oodgrid.")


def _is_free(look: Look, taken: list[Look]) -> bool:
    return all(look.mark != other.mark and (look.colour, look.line) != (other.colour, other.line) for other in taken)


def _free(base: Look | None, taken: list[Look]) -> Iterator[Look]:
    """Yield looks that nothing taken has, from those that differ most to those that differ in one thing."""
    used = [look.colour for look in taken]
    colours = sorted(COLOURS.values(), key=lambda colour: (base is None or colour != base.colour, used.count(colour)))
    every = [Look(c, shape, line, hollow) for c, line, (shape, hollow) in product(colours, LINES, MARKS)]
    lines = {(look.colour, look.line) for look in taken}
    marks, coloured = {look.mark for look in taken}, {(look.colour, look.mark) for look in taken}
    yield from (look for look in every if look.mark not in marks and (look.colour, look.line) not in lines)
    yield from (look for look in every if (look.colour, look.mark) not in coloured)
    yield from every
