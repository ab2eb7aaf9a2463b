"""What the parts of an experiment take from one another before they are read one by one.

Datasets: limit, root and splits. Label lists and streams: the whole names of the sets that they name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from oodgrid import catalogue
from oodgrid.catalogue import real
from oodgrid.config.base import MOST
from oodgrid.config.class_choice import mark_of
from oodgrid.config.dataset import SOURCES
from oodgrid.streams import THEN


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


def with_whole_names(label_lists: Any, id_datasets: Sequence[Any]) -> Any:
    """Return the entries of label lists, in which an ID set that a `limit` or half renames may go by its written name.

    Where two ID sets have that name, as both halves of one, nothing is changed: which is meant must be said.

    Args:
        label_lists: As they are written.
        id_datasets: As `with_shared_keys` returns them.
    """
    if not isinstance(label_lists, list):
        return label_lists
    renamed = _renamed(id_datasets)

    def of(entry: dict[str, Any]) -> dict[str, Any]:
        keys = [key for key in ("drop_classes_of", "joined_to") if isinstance(entry.get(key), str)]
        return {**entry, **{key: renamed.get(entry[key], entry[key]) for key in keys}}

    return [of(each) if isinstance(each, dict) else each for each in label_lists]


def with_whole_streams(scores: Any, id_datasets: Sequence[Any]) -> Any:
    """Return the entries of scores, in which the OOD sets that a stream names may go by their written names.

    Args:
        scores: As they are written, one value a parameter.
        id_datasets: As `with_shared_keys` returns them.
    """
    oods = [each["ood"] for each in id_datasets if isinstance(each, dict) and isinstance(each.get("ood"), dict)]
    renamed = _renamed([each for ood in oods for sets in ood.values() if isinstance(sets, list) for each in sets])

    def of(entry: dict[str, Any]) -> dict[str, Any]:
        stream = entry.get("stream")
        if not isinstance(stream, str) or THEN not in stream:
            return entry
        names = map(str.strip, stream.split(THEN))
        return {**entry, "stream": THEN.join(renamed.get(name, name) for name in names)}

    return [of(each) if isinstance(each, dict) else each for each in scores] if isinstance(scores, list) else scores


def _renamed(entries: Sequence[Any]) -> dict[str, str]:
    """Return what results call datasets that have another name there, by the name as written, where one is meant."""
    marks = {(name, mark_of(each)) for each in entries if isinstance(each, dict) and (name := _name_of(each))}
    named = {(name, f"{name.removesuffix(mark)}{mark}") for name, mark in marks}
    written, wholes = [name for name, _ in named], {whole for _, whole in named}
    return {name: whole for name, whole in named if name not in wholes and written.count(name) == 1}


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
