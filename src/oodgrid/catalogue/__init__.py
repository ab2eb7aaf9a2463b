"""What can be named in a configuration without being described: datasets, backbones, label lists, known overlaps.

The entries are data files beside this module; the models in `oodgrid.config` say what they may hold.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from oodgrid.catalogue import real
from oodgrid.errors import OodgridError, near, printable
from oodgrid.identity import is_file

FOLDER = Path(__file__).parent
PACKAGE = "package:"  # stands before the name of a file in this folder
ENTRIES = {  # how to write an entry for what the catalogue does not have
    "dataset": "write your own images as {{name: {0}, folder: …}}, imported features as {{name: {0}, imported: {{}}}}",
    "backbone": "write one of your own as {{name: {0}, model: …, pretrained: …}}, one of imported features alone as "
    "{{name: {0}, model: imported, pretrained: random}}",
    "label_list": "describe it under label_lists:",
}


@cache
def entries(kind: str) -> dict[str, dict[str, Any]]:
    """Return all entries of a kind, "dataset", "backbone" or "label_list", by name."""
    return yaml.safe_load((FOLDER / f"{kind}s.yaml").read_text(encoding="utf-8"))


def entry(kind: str, name: str) -> dict[str, Any]:
    """Return the entry of that name.

    Raises:
        OodgridError: There is none; the message has a did-you-mean, and how to write an entry of one's own.
    """
    known = entries(kind)
    if kind == "dataset" and name in real.names():
        raise OodgridError(
            f"dataset {name} lies on your disk: write {{name: {name}, root: FOLDER}}, or root: FOLDER for the whole "
            "experiment (oodgrid datasets --root FOLDER says what is there)"
        )
    if name not in known:
        others = real.names() if kind == "dataset" else ()
        meant, shown = near(name, [*known, *others]), printable(name, 100)
        hint = f"did you mean '{meant}'?" if meant else f"the catalogue has none (oodgrid list {kind}s):"
        raise OodgridError(f"unknown {kind.replace('_', ' ')} '{shown}': {hint} {ENTRIES[kind].format(shown)}")
    return known[name]


def overlap(one: str, other: str) -> str | None:
    """Return why two datasets share classes, as far as it is recorded, or None."""
    classes = {_with_classes_of(one), _with_classes_of(other)}
    for record in _overlaps():
        if set(record["pair"]) in ({one, other}, classes):
            return record["why"]
    return f"both have the classes of {classes.pop()}" if len(classes) == 1 and one != other else None


def _with_classes_of(name: str) -> str:
    """Return the dataset whose classes one has, as food101 for food101-official; else its own name."""
    return (real.real_set(name).classes if name in real.names() else None) or name


def overlaps_of(name: str) -> dict[str, str]:
    """Return the datasets of which it is recorded that they share classes with one, and why."""
    records = [(set(record["pair"]) - {name}, record["why"]) for record in _overlaps() if name in record["pair"]]
    return {others.pop(): why for others, why in records}


def packaged(name: str) -> Path:
    """Return the path of a `package:FILE`."""
    return FOLDER / name.removeprefix(PACKAGE)


@cache
def file_sha256(name: str) -> str:
    """Return the digest of the bytes of a `package:FILE`.

    Raises:
        OodgridError: The package holds no such file.
    """
    if not is_file(packaged(name)):
        raise OodgridError(f"{name} is not in {FOLDER}: mend the name, or install oodgrid again")
    return hashlib.sha256(packaged(name).read_bytes()).hexdigest()


@cache
def _overlaps() -> list[dict[str, Any]]:
    return yaml.safe_load((FOLDER / "overlaps.yaml").read_text(encoding="utf-8"))
