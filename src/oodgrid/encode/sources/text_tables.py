"""Texts of a dataset: what stands in the rows of its files, as it stands there.

Nothing in a text is changed, not even the blanks at its ends, but for carriage returns alone within lines of tables,
which become blanks: tokenizers decide what they see of it. What holds no
text is passed over and counted; what could be read in two ways is refused, with the line of the file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oodgrid.config import SPLITS, TextTable, expand
from oodgrid.config.row_choice import RowChoice, said
from oodgrid.counts import counted, plural
from oodgrid.encode.sources.image_set import ImageSet, classes_by_value, existing
from oodgrid.encode.sources.layout import split_named
from oodgrid.encode.sources.text_formats import READERS, Row, json_parts
from oodgrid.errors import OodgridError, printable, unknown

SHOWN = 60  # characters of a text that stand in its name
SEPARATORS = ";|\t,"  # in the name of an only column: of a table that was taken for one of another kind
ARTICLES = {"text": "a text", "image": "an image"}
NO_NAMES = ("nan", "na", "n/a", "<na>", "null", "none")  # what tools write for a label that is not there
Column = int | str | None


@dataclass
class Table:
    """The texts of a source, one entry per text, in its order, each with the row in which it stands."""

    names: list[str]
    texts: list[str]
    labels: list[Any]
    splits: list[str] | None
    remarks: list[str]
    rows: list[Row] = field(default_factory=list)
    words: set[str] = field(default_factory=set)  # of the column by which rows are chosen


def open_texts(source: TextTable, split: str) -> ImageSet:
    """Return the texts of a source, of all splits that it has; Hugging Face's are of one.

    Raises:
        OodgridError: A file is missing or in no such format, a column is not there, or a text is none.
    """
    table = _of_hugging_face(source, split) if source.hf else read_files(source)
    where = source.hf or ", ".join(source.files)
    labels, names = classes_by_value(table.labels, where)
    texts = table.texts
    return ImageSet(
        table.names,
        labels,
        _spaced(names),
        lambda row: texts[row].encode(),
        lambda row: (len(texts[row].encode()), -1),
        where,
        table.splits,
        remarks=tuple(table.remarks),
        texts=texts,
    )


def with_copies(opened: dict[str, ImageSet]) -> dict[str, ImageSet]:
    """Return the splits of a dataset of texts with remarks on texts that stand in them more than once."""
    classes: defaultdict[str, set[int]] = defaultdict(set)
    first: dict[str, str] = {}
    with_remarks = {}
    for split, samples in opened.items():
        texts = list(samples.texts or ())
        remarks = _copies(texts, split)
        for other in SPLITS:
            if copies := [text for text in texts if first.get(text) == other != split]:
                are = plural(len(copies), "text is", "texts are")
                remarks.append(f"{len(copies):,} {split} {are} {other} {are.split()[0]} too, as {_shown(copies[0])}")
        for text, label in zip(texts, samples.labels.tolist(), strict=True):
            first.setdefault(text, split)
            classes[text].add(label)
        with_remarks[split] = replace(samples, remarks=(*samples.remarks, *remarks))
    if several := [text for text, labels in classes.items() if len(labels) > 1]:
        line = f"{counted(len(several), 'text has', 'texts have')} more than one class, as {_shown(several[0])}"
        last = [*with_remarks][-1]
        with_remarks[last] = replace(with_remarks[last], remarks=(*with_remarks[last].remarks, line))
    return with_remarks


def _copies(texts: Sequence[str], split: str) -> list[str]:
    counts = Counter(texts)
    copies = [text for text, count in counts.items() if count > 1]
    if not copies:
        return []
    more = len(texts) - len(counts)
    return [f"{counted(more, f'{split} text repeats', f'{split} texts repeat')} another, as {_shown(copies[0])}"]


def _shown(text: str) -> str:
    return repr(printable(text, SHOWN))


def _spaced(names: list[str] | None) -> list[str] | None:
    """Return class names with spaces for underscores, as a text tower should read them, if they stay apart."""
    spaced = [name.replace("_", " ") for name in names or ()]
    return spaced if names and len(set(spaced)) == len(names) else names


# ------------------------------------------------------------------------------------------------------- files


def read_files(source: TextTable) -> Table:
    """Return the texts of the files of a source, of all splits that it has.

    Raises:
        OodgridError: A file is missing or in no such format, a column is not there, or a text is none.
    """
    files = source.file if isinstance(source.file, dict) else {None: str(source.file)}
    whole = Table([], [], [], [] if len(source.own_splits) else None, [])
    for split, name in files.items():
        file = existing(expand(name), source.what)
        kind = source.format_of(name)
        parts = json_parts(file, source, split) if kind == "json" else [(split, READERS[kind](file, source))]
        for of, rows in parts:
            _take(whole, file, source, of, rows)
    _check_words(source, ", ".join(source.files), whole.words)
    _check_splits(source, whole)
    return whole


def _check_words(source: TextTable, where: str, there: Iterable[str]) -> None:
    """Refuse to choose rows by a word that stands nowhere in their column."""
    if source.rows and (missing := [word for word in source.rows.words if word not in there]):
        raise unknown(f"word in column {source.rows.column} of {where} (rows)", missing[0], there)


def _take(whole: Table, file: Path, source: TextTable, split: str | None, rows: Iterable[Row]) -> None:
    """Take the rows of a file, or of one split in it, into a table."""
    rows = list(rows)
    empty: dict[str, list[int]] = {side: [] for side in source.sides}
    first = len(whole.rows)
    columns = {column: None for row in rows for column in row.values}  # in JSON an object may lack what others have
    label = _columns(whole, file, source, columns) if rows else source.label
    rows = _joined(whole, file, source.text, _chosen(whole, file, source.rows, rows))
    for row in rows:
        if side := next((s for s, column in source.sides.items() if _is_empty(row.values.get(column))), None):
            empty[side].append(row.line)
            continue
        for side, column in source.sides.items():
            checked(row.values[column], f"{file}, line {row.line}", side)
        text = row.values[source.text]
        whole.texts.append(text)
        whole.names.append(f"{file.name}:{row.line} {printable(text, SHOWN)}")
        whole.rows.append(row)
        whole.labels.append(None if label is None else row.values.get(label))
        if whole.splits is not None:
            whole.splits.append(split or _split_of(file, source, row))
    labelled = [row for row in whole.rows[first:] if source.takes_label(row.values)]
    whole.remarks += _label_remarks(file, label, labelled) if label is not None else []
    for side, lines in empty.items():
        if lines:
            what = counted(len(lines), f"row without {ARTICLES[side]}", f"rows without {ARTICLES[side]}")
            whole.remarks.append(f"passed over {what} in {file.name}, the first in line {lines[0]}")


def _label_remarks(file: Path, label: Column, rows: Sequence[Row]) -> list[str]:
    """Return what is to be said of rows without a label, and of labels that a tool may have written for none."""
    remarks = []
    labels = [(row.values.get(label), row.line) for row in rows]
    if lacking := [line for value, line in labels if _is_empty(value) or value != value]:  # NaN
        what = counted(len(lacking), "row", "rows")
        remarks.append(f"{what} of {file.name} without {label}, the first in line {lacking[0]}: no class")
    if words := Counter(
        value for value, _ in labels if isinstance(value, str) and value.strip().casefold() in NO_NAMES
    ):
        listed = ", ".join(f"{count:,} {value!r}" for value, count in sorted(words.items()))
        remarks.append(f"{label} in {file.name}: {listed} taken as names of classes: leave cells empty that have none")
    return remarks


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _joined(whole: Table, file: Path, column: int | str, rows: list[Row]) -> list[Row]:
    """Return rows whose text is one where it stood as a list, of what was said in turn in a dialogue, and say so."""

    def is_list(row: Row) -> bool:
        turns = row.values.get(column)
        return isinstance(turns, list) and all(isinstance(turn, str) for turn in turns)

    if not (count := sum(map(is_list, rows))):
        return rows
    whole.remarks.append(f"{counted(count, 'text')} of {file.name} stood as a list of turns, joined by blanks")
    return [
        replace(row, values={**row.values, column: " ".join(row.values[column])}) if is_list(row) else row
        for row in rows
    ]


def _chosen(whole: Table, file: Path, choice: RowChoice | None, rows: list[Row]) -> list[Row]:
    """Return the rows that the configuration chooses, of all those of a file, and say how many it leaves out."""
    if choice is None:
        return rows
    words = [said(row.values.get(choice.column)) for row in rows]
    whole.words.update(words)
    taken = [row for row, word in zip(rows, words, strict=True) if choice.takes(word)]
    left_out = counted(len(rows) - len(taken), "row")
    whole.remarks.append(f"left out {left_out} of {len(rows):,} of {file.name} by rows: of column {choice.column}")
    return taken


def _columns(whole: Table, file: Path, source: TextTable, columns: Mapping[Any, Any]) -> Column:
    """Refuse columns that are not there, and return that of labels; None where there is none and none was named."""
    there = {str(name): name for name in columns}
    choice = source.rows and source.rows.column
    for name, column in (*source.sides.items(), ("split", source.split), ("row", choice)):
        if column is not None and column not in columns:
            if len(there) == 1 and (mark := next((mark for mark in SEPARATORS if mark in next(iter(there))), None)):
                raise OodgridError(
                    f"{file}: its first line is one column, and {mark!r} seems to part it: save it with commas as .csv "
                    "or with tabs as .tsv"
                )
            raise unknown(f"column of {name}s of {file}", str(column), there)
    if source.label is None or source.label in columns:
        return source.label
    if source.label != "label":  # which is only looked for
        raise unknown(f"column of labels of {file}", str(source.label), there)
    if len(there) > 1:
        whole.remarks.append(f"{file.name} has no column label, only {', '.join(there)}: no {source.thing} has a class")
    return None


def checked(text: Any, where: str, side: str = "text") -> str:
    """Return a text that is one: that of a sample, or, of a pair, the path of its image.

    Raises:
        OodgridError: It is a number or the like, or holds half a character.
    """
    if not isinstance(text, str):
        raise OodgridError(f"{where}: {printable(repr(text), SHOWN)} is no text: name another column by {side}:")
    if "\0" in text or (not text.isascii() and text.encode("utf-8", "ignore").decode() != text):
        raise OodgridError(f"{where}: the {side} holds half a character (a lone surrogate, or NUL): mend it")
    return text


def _split_of(file: Path, source: TextTable, row: Row) -> str:
    """Return the split that a row says; "" where it is none that is asked for."""
    value = row.values.get(source.split) if source.split is not None else None
    if source.splits:
        return next((split for split, name in source.splits.items() if name == str(value)), "")
    split = split_named(str(value))
    if split is None:
        raise OodgridError(
            f"{file}, line {row.line}: the column {source.split} says {printable(repr(value), SHOWN)}, which is "
            "none of train, val and test: write splits: {test: …} with its words, or take the row out"
        )
    return split


def _check_splits(source: TextTable, table: Table) -> None:
    there = set(table.splits or ())
    missing = [split for split in source.own_splits if split not in there]
    if missing and source.rows:
        raise OodgridError(
            f"{source.what} of {', '.join(source.files)}: of the rows that rows: of column {source.rows.column} takes, "
            f"none is of the {missing[0]} split: choose others, or name the files of other splits"
        )
    if missing:
        has = ", ".join(split for split in SPLITS if split in there) or "none"
        raise OodgridError(
            f"{source.what} of {', '.join(source.files)}: no {source.thing} is of the {missing[0]} split; there are "
            f"{has}: write splits: {{test: …}} with those that there are"
        )
    if others := (table.splits or []).count(""):
        table.remarks.append(f"passed over {counted(others, 'row of other splits', 'rows of other splits')}")
        rows = [row for row, split in enumerate(table.splits or ()) if split]
        for name in ("names", "texts", "labels", "splits", "rows"):
            setattr(table, name, [getattr(table, name)[row] for row in rows])


# ------------------------------------------------------------------------------------------------ Hugging Face


def _of_hugging_face(source: TextTable, split: str) -> Table:
    """Return one split of a dataset of Hugging Face's library."""
    from oodgrid.encode.sources.libraries import load_hugging_face

    names: dict[str, str] = dict((source.splits or {}).items())

    def load(of: str) -> Any:
        return load_hugging_face(str(source.hf), source.subset, names.get(of, of), source.revision, source.download)

    rows = load(split)
    file = Path(f"{source.hf}/{names.get(split, split)}")
    table = Table([], [], [], None, [])
    _take(table, file, source, split, (Row(number, _named(row, rows, source)) for number, row in enumerate(rows, 1)))
    if source.rows and not table.words.issuperset(source.rows.words):  # it may stand in another split
        column = source.rows.column
        others = (_named(row, of, source) for of in map(load, set(source.own_splits) - {split}) for row in of)
        _check_words(source, str(source.hf), table.words | {said(row.get(column)) for row in others})
    if source.rows and not table.texts:
        raise OodgridError(
            f"texts of {source.hf}: by rows: of column {source.rows.column} the {split} split is without texts: choose "
            "others, or take this split out"
        )
    feature = rows.features.get(source.label)
    if words := getattr(feature, "names", None):
        table.labels = [None if isinstance(label, int) and label < 0 else label for label in table.labels]
        table.labels = [words[label] if isinstance(label, int) else label for label in table.labels]
    return table


def _named(row: Mapping[Any, Any], rows: Any, source: TextTable) -> Mapping[Any, Any]:
    """Return a row in which the column that rows are chosen by has the name of a class and not its number."""
    column = source.rows and source.rows.column
    words = getattr(rows.features.get(column), "names", None)
    if not words or not isinstance(number := row.get(column), int):
        return row
    return {**row, column: words[number] if number >= 0 else None}
