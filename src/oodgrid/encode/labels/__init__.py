"""Lists of labels that are not the classes: read from where the configuration says, freed of doubles and of classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from oodgrid.config import LabelList, expand
from oodgrid.encode.labels.tables import LabelTable, read_table
from oodgrid.encode.labels.wordnet import read_lexicographer
from oodgrid.encode.lines import whole_texts
from oodgrid.errors import OodgridError
from oodgrid.identity import digest
from oodgrid.labels import plain_name

__all__ = ["LabelTable", "Prompts", "free_of", "prompts", "read_labels"]


@dataclass(frozen=True)
class Prompts:
    """The texts of a list.

    Attributes:
        texts: T times the M texts of the labels under one template.
        templates: T words for what was done: a template, or one of every kind.
    """

    texts: list[list[str]]
    templates: list[str]

    @property
    def sha256(self) -> str:
        """A digest of the texts."""
        return digest(self.texts)


def read_labels(labels: LabelList, classes: Iterable[str] = ()) -> LabelTable:
    """Return the labels of a list in their order, each once, without those that `drop_classes_of` takes out.

    Args:
        labels: The entry of the configuration.
        classes: The classes of the ID dataset that the entry names, if it does.

    Raises:
        OodgridError: A file is missing, unreadable or holds something else, or no label is left.
    """
    found = _read(labels).stripped(labels.lower)
    whole_texts(found.names, f"label list {labels.name}")
    if empty := sum(not name for name in found.names):
        raise OodgridError(f"label list {labels.name} holds {empty} empty labels: take them out")
    found = free_of(found.distinct(), classes, labels.drop)
    if not found.names:
        raise OodgridError(f"label list {labels.name} holds no label: mend its source, or take it out of the config")
    return found


def free_of(table: LabelTable, classes: Iterable[str], by: str = "exact") -> LabelTable:
    """Return the labels that are no class ("exact"), or that share no word with one ("word"), whatever their case."""
    names = {plain_name(name) for name in classes}
    words = {word for name in names for word in name.split()} if by == "word" else set()
    kept = [
        row
        for row, name in enumerate(map(plain_name, table.names))
        if name not in names and not words.intersection(name.split())
    ]
    return table.rows(kept)


def prompts(labels: LabelList, table: LabelTable) -> Prompts:
    """Return the texts of a list: every label under every template of its kind.

    A kind with fewer templates repeats them, which leaves the mean over them what it is.

    Raises:
        OodgridError: A kind has no template.
    """
    given = labels.templates
    if not isinstance(given, dict):
        given = dict.fromkeys(table.kinds, given)
        shown = list(labels.templates)
    else:
        most = max(map(len, given.values()))
        given = {kind: templates * (most // len(templates)) for kind, templates in given.items()}
        shown = [" | ".join(f"{kind}: {given[kind][t]}" for kind in given) for t in range(most)]
    if strange := set(table.kinds) - set(given):
        raise OodgridError(
            f"label list {labels.name} has labels of {min(strange) or 'no kind'} and templates for {', '.join(given)}: "
            "give every kind its templates, or one list for all"
        )
    own = table.templates or [""] * len(table.names)
    rows = list(zip(table.names, table.kinds, own, strict=True))
    texts = [
        [(template or given[kind][t]).replace("{}", name) for name, kind, template in rows] for t in range(len(shown))
    ]
    return Prompts(texts, [f"{text} (or a label's own)" for text in shown] if table.templates else shown)


def _read(labels: LabelList) -> LabelTable:
    if labels.imported:
        raise OodgridError(f"label list {labels.name} is imported: run oodgrid import for it")
    if labels.lexicographer:
        return read_lexicographer(labels.lexicographer)
    if labels.file:
        return read_table(expand(labels.file))
    if isinstance(labels.labels, dict):
        pairs = [(name, kind) for kind, names in labels.labels.items() for name in names]
        return LabelTable([name for name, _ in pairs], [kind for _, kind in pairs])
    return LabelTable(list(labels.labels), [""] * len(labels.labels))
