"""What can be named in a configuration without being described: datasets, backbones, label lists, known overlaps.

The entries are data files beside this module; the models in `oodgrid.config` say what they may hold.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from oodgrid.errors import OodgridError, unknown

FOLDER = Path(__file__).parent
PACKAGE = "package:"  # stands before the name of a file in this folder


@cache
def entries(kind: str) -> dict[str, dict[str, Any]]:
    """Return all entries of a kind, "dataset", "backbone" or "label_list", by name."""
    return yaml.safe_load((FOLDER / f"{kind}s.yaml").read_text(encoding="utf-8"))


def entry(kind: str, name: str) -> dict[str, Any]:
    """Return the entry of that name.

    Raises:
        OodgridError: There is none; the message has a did-you-mean.
    """
    known = entries(kind)
    if name not in known:
        raise unknown(kind.replace("_", " "), name, known)
    return known[name]


def overlap(one: str, other: str) -> str | None:
    """Return why two datasets share classes, as far as it is recorded, or None."""
    for record in _overlaps():
        if {one, other} == set(record["pair"]):
            return record["why"]
    return None


def packaged(name: str) -> Path:
    """Return the path of a `package:FILE`."""
    return FOLDER / name.removeprefix(PACKAGE)


@cache
def file_sha256(name: str) -> str:
    """Return the digest of the bytes of a `package:FILE`.

    Raises:
        OodgridError: The package holds no such file.
    """
    if not packaged(name).is_file():
        raise OodgridError(f"{name} is not in {FOLDER}: mend the name, or install oodgrid again")
    return hashlib.sha256(packaged(name).read_bytes()).hexdigest()


@cache
def _overlaps() -> list[dict[str, Any]]:
    return yaml.safe_load((FOLDER / "overlaps.yaml").read_text(encoding="utf-8"))
