"""What the datasets of an experiment take from it before they are read one by one: limit, root, and their splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from oodgrid import catalogue
from oodgrid.catalogue import real
from oodgrid.config.base import MOST
from oodgrid.config.dataset import SOURCES


def with_shared_keys(id_datasets: Sequence[Any], limit: Any, root: Any) -> list[Any]:
    """Return the entries of ID sets, and of the OOD sets below them, with what the experiment says of all.

    Args:
        id_datasets: As they are written.
        limit: That of the experiment, None where it has none; a wrong one is said once, and not of each dataset too.
        root: Likewise.
    """
    keys_of = partial(
        _shared_keys,
        limit=limit if isinstance(limit, int) and not isinstance(limit, bool) and 1 <= limit <= MOST else None,
        root=root if isinstance(root, str) else None,
        id_sets={_is_of(dataset) for dataset in id_datasets},
    )
    return [_filled(dataset, keys_of) for dataset in id_datasets]


def _filled(entry: Any, keys_of: Callable[[dict[str, Any], bool], dict[str, Any]], is_ood: bool = False) -> Any:
    """Return the entry of a dataset with what the experiment says of all, and so of the OOD sets below it."""
    if not _name_of(entry):
        return entry
    whole = {"name": entry} if isinstance(entry, str) else entry
    if isinstance(ood := whole.get("ood"), dict):
        lists = {kind: sets for kind, sets in ood.items() if isinstance(sets, list)}
        whole = whole | {"ood": ood | {k: [_filled(each, keys_of, True) for each in sets] for k, sets in lists.items()}}
    keys = keys_of(whole, is_ood)
    return {**keys, **whole} if keys or not isinstance(entry, str) else entry


def _shared_keys(
    entry: dict[str, Any], is_ood: bool, limit: int | None, root: str | None, id_sets: set[str]
) -> dict[str, Any]:
    """Return the keys that an entry takes from its experiment where it has none of its own."""
    name = entry["name"]
    imported = "imported" in entry or "imported" in catalogue.entries("dataset").get(name, {})
    keys: dict[str, Any] = {} if imported or limit is None else {"limit": limit}
    is_real = entry.get("of", name) in real.names() and not set(SOURCES) & (set(entry) - {"root"})
    if is_real and root is not None:
        keys["root"] = root
    if is_real and is_ood and _is_of(entry) not in id_sets and ("root" in entry or root is not None):
        keys["only"] = ["test"]
    return keys


def _is_of(entry: Any) -> str:
    """Return what tells datasets apart as far as their splits go: the name and the classes."""
    return f"{_name_of(entry)} {entry.get('classes') if isinstance(entry, dict) else None}"


def _name_of(entry: Any) -> str:
    """Return the name of a dataset's entry; "" where it has none that is a text."""
    name = entry.get("name") if isinstance(entry, dict) else entry
    return name if isinstance(name, str) else ""
