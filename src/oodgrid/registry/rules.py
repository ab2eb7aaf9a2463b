"""What methods, scores and their parameters may be called: their names are those of columns, files and anchors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import TypeAdapter

from oodgrid import plugins, signatures
from oodgrid.errors import OodgridError, printable
from oodgrid.registry.entry import Entry

NAME = r"[A-Za-z][A-Za-z0-9_]{0,63}"  # of a score or method
# Names beside those of scores and methods: columns of score tables, the seal of records, the method `any`.
COLUMNS = ("dataset", "shots", "seed", "ood_dataset", "index", "path", "label", "prediction", "place")
ANY = "any"  # stands in place of a method for scores that do not depend on it
RESERVED = {"score": (*COLUMNS, "seal"), "method": (ANY,)}
RESERVED_PARAMETERS = ("name", "bank")  # {name: …} is how the config writes a choice; `bank` chooses labelled samples
LEAVES = ("prototypes", "features", "logits")


def check_entry(entry: Entry, known: Mapping[str, Entry]) -> None:
    """Refuse an entry whose name, title or parameters cannot be what they name.

    Args:
        entry: What is to be registered.
        known: What is registered of its kind, by name.

    Raises:
        OodgridError: A name is taken, by us or by others, or is none; or a parameter cannot be written.
    """
    what = f"{entry.kind} {entry.name}"
    if not re.fullmatch(NAME, entry.name):
        raise OodgridError(f"{what}: it names columns and files, so write letters, digits and _ alone, 64 at most")
    if entry.name in (reserved := RESERVED[entry.kind]):
        raise OodgridError(f"{what} needs another name: {', '.join(reserved)} are names of tables and records")
    if other := next((name for name, each in known.items() if _is_another(entry, name, each)), None):
        raise OodgridError(f"two {entry.kind}s are called {other}: give one another name")
    if printable(entry.title, 64) != entry.title:
        raise OodgridError(f"{what}: its title stands in tables and legends, so write one line of 64 letters at most")
    if entry.kind == "method" and entry.leaves not in LEAVES:
        raise OodgridError(f"{what}: leaves is one of {', '.join(LEAVES)}, not {entry.leaves!r}")
    if entry.kind == "method" and "parts" in entry.needs and not _combines(entry):
        raise OodgridError(
            f"{what} needs parts, those that its parameter of names: write of: tuple[str, ...], with some names for a "
            "default, a function combine, and leaves='logits'"
        )
    for name, default in entry.params.items():
        if name in RESERVED_PARAMETERS:
            raise OodgridError(f"{what}: no parameter may be called {' or '.join(RESERVED_PARAMETERS)}; rename it")
        signatures.check_default(f"{what}: parameter {name}", default)
    if entry.plugin:
        _check_types(what, entry)


def _is_another(entry: Entry, name: str, known: Entry) -> bool:
    """Return whether a name is that of another entry on a file system that ignores case."""
    return name.lower() == entry.name.lower() and (name, known.make.__module__) != (entry.name, entry.make.__module__)


def _combines(entry: Entry) -> bool:
    """Return whether a method has what one needs that combines others (`oodgrid.adapt.contract.Combination`)."""
    names = isinstance(entry.params.get("of"), tuple)
    return names and callable(getattr(entry.make, "combine", None)) and entry.leaves == "logits"


def _check_types(what: str, entry: Entry) -> None:
    for name in entry.params:
        try:
            TypeAdapter(entry.types[name])
        except Exception as error:
            raise OodgridError(f"{what}: the type of {name} cannot be checked ({plugins.described(error)})") from error
