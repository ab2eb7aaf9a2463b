"""Names of datasets that other keys name, with the mark that a trial adds: `limit: 4` above all must not break them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from oodgrid import streams
from oodgrid.config.class_choice import mark_of

OF_LISTS = ("drop_classes_of", "joined_to")  # keys of a label list that name an ID dataset


def with_marked_names(data: dict[str, Any]) -> dict[str, Any]:
    """Return an experiment as it is written, whose label lists and streams name datasets as results do.

    Where several have one written name, as both halves of one do, it stays: which is meant must be said.

    Args:
        data: The experiment; its datasets have the limit that it gives all of them.
    """
    names: dict[str, set[str]] = {}
    for written, name in _names(data.get("id_datasets")):
        names.setdefault(written, set()).add(name)
    marked = {written: named.pop() for written, named in names.items() if len(named) == 1}
    changed = {"label_lists": [_list(each, marked) for each in _entries(data, "label_lists")]}
    changed["scores"] = [_score(each, marked) for each in _entries(data, "scores")]
    return data | {key: entries for key, entries in changed.items() if isinstance(data.get(key), list)}


def without_limit(name: str) -> str:
    """Return the name of a dataset without the mark of a limit, which changes no class of it."""
    return re.sub(r"-limit-[0-9]+$", "", name)


def _entries(data: dict[str, Any], key: str) -> list[Any]:
    return data[key] if isinstance(data.get(key), list) else []


def _names(entries: Any) -> Iterator[tuple[str, str]]:
    """Yield of every dataset its name as it is written, and as it is in results."""
    for entry in entries if isinstance(entries, list) else ():
        whole = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(whole, dict):
            continue
        name, mark = whole.get("name"), mark_of(whole)
        if isinstance(name, str):
            yield name, name.removesuffix(mark) + mark
        if isinstance(oods := whole.get("ood"), dict):
            for sets in oods.values():
                yield from _names(sets)


def _list(entry: Any, marked: dict[str, str]) -> Any:
    if not isinstance(entry, dict):
        return entry
    named = {key: entry[key] for key in OF_LISTS if isinstance(entry.get(key), str)}
    return entry | {key: marked.get(name, name) for key, name in named.items()}


def _score(entry: Any, marked: dict[str, str]) -> Any:
    stream = entry.get("stream") if isinstance(entry, dict) else None
    if not isinstance(stream, str) or streams.THEN not in stream:
        return entry
    names = [name.strip() for name in stream.split(streams.THEN)]
    return entry | {"stream": streams.THEN.join(marked.get(name, name) for name in names)}
