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

    Args:
        data: The experiment; its datasets have the limit that it gives all of them.
    """
    marked = dict(_marked(data.get("id_datasets")))
    changed = {"label_lists": [_list(each, marked) for each in _entries(data, "label_lists")]}
    changed["scores"] = [_score(each, marked) for each in _entries(data, "scores")]
    return data | {key: entries for key, entries in changed.items() if isinstance(data.get(key), list)}


def without_limit(name: str) -> str:
    """Return the name of a dataset without the mark of a limit, which changes no class of it."""
    return re.sub(r"-limit-[0-9]+$", "", name)


def _entries(data: dict[str, Any], key: str) -> list[Any]:
    return data[key] if isinstance(data.get(key), list) else []


def _marked(entries: Any) -> Iterator[tuple[str, str]]:
    """Yield the written name of every dataset that has another in results, and that one."""
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict):
            continue
        name, mark = entry.get("name"), mark_of(entry)
        if isinstance(name, str) and mark:
            yield name, name.removesuffix(mark) + mark
        if isinstance(oods := entry.get("ood"), dict):
            for sets in oods.values():
                yield from _marked(sets)


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
