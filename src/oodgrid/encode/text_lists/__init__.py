"""Lists of texts that are not the classes, as negative texts are (`label_lists:` of a configuration).

Each text comes once, and without those that are a class where the configuration says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from oodgrid.config import LabelList, expand
from oodgrid.counts import counted, plural
from oodgrid.encode.lines import whole_texts
from oodgrid.encode.text_lists.tables import TextTable, read_table
from oodgrid.encode.text_lists.wordnet import read_lexicographer
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.labels import JOINED, plain_name

__all__ = ["Prompts", "TextTable", "free_of", "joined", "prompts", "read_text_list"]


@dataclass(frozen=True)
class Prompts:
    """The texts of a list.

    Attributes:
        texts: T lists of the M prompts that one template makes of the texts of the list.
        templates: T descriptions: the template, or the templates of all kinds.
    """

    texts: list[list[str]]
    templates: list[str]

    @property
    def sha256(self) -> str:
        """A digest of the texts."""
        return digest(self.texts)


def read_text_list(entry: LabelList, classes: Iterable[str] = ()) -> TextTable:
    """Return the texts of a list in their order, each once, without those that `drop_classes_of` takes out.

    Of a list that is `joined_to` classes, the labels behind the first class come first: K M texts of M labels.

    Args:
        entry: The entry of the configuration.
        classes: The classes of the ID dataset that the entry names, if it does.

    Raises:
        OodgridError: A file is missing, unreadable or holds something else, or no label is left.
    """
    table = _read(entry).stripped(entry.lower)
    whole_texts(table.names, f"label list {entry.name}")
    if empty := sum(not name for name in table.names):
        raise OodgridError(
            f"label list {entry.name} holds {counted(empty, 'empty label')}: take {plural(empty, 'it', 'them')} out"
        )
    classes = list(classes)
    table = free_of(table.distinct(), classes if entry.drop_classes_of else (), entry.drop)
    if not table.names:
        raise OodgridError(f"label list {entry.name} holds no label: mend its source, or take it out of the config")
    return joined(table, classes) if entry.joined_to else table


def free_of(table: TextTable, classes: Iterable[str], by: str = "exact") -> TextTable:
    """Return the texts that are no class ("exact"), or that share no word with one ("word"), whatever their case."""
    names = {plain_name(name) for name in classes}
    words = {word for name in names for word in name.split()} if by == "word" else set()
    kept = [
        row
        for row, name in enumerate(map(plain_name, table.names))
        if name not in names and not words.intersection(name.split())
    ]
    return table.rows(kept)


def joined(table: TextTable, classes: Sequence[str]) -> TextTable:
    """Return every class with every text, as "class and text": texts behind texts of the first class, then others."""
    texts = table.rows([*range(len(table.names))] * len(classes))
    return replace(texts, names=[f"{each}{JOINED}{name}" for each in classes for name in table.names])


def prompts(entry: LabelList, table: TextTable) -> Prompts:
    """Return the prompts of a list: every text under every template of its kind.

    A kind with fewer templates repeats them, which leaves the mean over them what it is.

    Raises:
        OodgridError: A kind has no template.
    """
    if isinstance(entry.templates, dict):
        count = max(map(len, entry.templates.values()))
        by_kind = {kind: templates * (count // len(templates)) for kind, templates in entry.templates.items()}
        described = [" | ".join(f"{kind}: {by_kind[kind][t]}" for kind in by_kind) for t in range(count)]
    else:
        by_kind = dict.fromkeys(table.kinds, entry.templates)
        described = list(entry.templates)
    if strange := set(table.kinds) - set(by_kind):
        raise OodgridError(
            f"label list {entry.name} has labels of {min(strange) or 'no kind'} and templates for {', '.join(by_kind)}"
            ": give every kind its templates, or one list for all"
        )
    # a file may give a text a template of its own, which then stands for every template of its kind
    rows = list(zip(table.names, table.kinds, table.templates or [""] * len(table.names), strict=True))
    texts = [
        [(template or by_kind[kind][t]).replace("{}", name) for name, kind, template in rows]
        for t in range(len(described))
    ]
    return Prompts(texts, [f"{text} (or a label's own)" for text in described] if table.templates else described)


def _read(entry: LabelList) -> TextTable:
    if entry.imported:
        raise OodgridError(f"label list {entry.name} is imported: run oodgrid import for it")
    if entry.lexicographer:
        return read_lexicographer(entry.lexicographer)
    if entry.file:
        return read_table(expand(entry.file))
    texts = entry.labels or []
    if isinstance(texts, dict):
        pairs = [(name, kind) for kind, names in texts.items() for name in names]
        return TextTable([name for name, _ in pairs], [kind for _, kind in pairs])
    return TextTable(list(texts), [""] * len(texts))
