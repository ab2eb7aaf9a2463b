"""Texts from a file: one per line, CSV or Parquet with columns, or JSON as EOE keeps the answers of language models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oodgrid import store
from oodgrid.counts import counted
from oodgrid.encode.lines import existing, read_json, read_lines, read_names
from oodgrid.errors import OodgridError
from oodgrid.store import frames

COLUMNS = ("label", "kind", "template")


@dataclass(frozen=True)
class TextTable:
    """Texts of a list, with their kinds and templates.

    Attributes:
        names: M texts.
        kinds: M words as "noun"; "" where the kind is unknown.
        templates: M templates, each of one text alone; "" where a text has none; None where no text has.
    """

    names: list[str]
    kinds: list[str]
    templates: list[str] | None = None

    def rows(self, rows: Sequence[int]) -> TextTable:
        """Return some of the texts."""
        templates = None if self.templates is None else [self.templates[row] for row in rows]
        return TextTable([self.names[row] for row in rows], [self.kinds[row] for row in rows], templates)

    def stripped(self, lower: bool = False) -> TextTable:
        """Return the texts without white space around them, in lower case where asked for."""
        names = [name.strip().lower() if lower else name.strip() for name in self.names]
        return TextTable(names, self.kinds, self.templates)

    def distinct(self) -> TextTable:
        """Return every text once, where it comes first, whatever its kind."""
        first: dict[tuple[str, str], int] = {}
        for row, name in enumerate(self.names):
            first.setdefault((name, self.templates[row] if self.templates else ""), row)
        return self.rows(list(first.values()))


def read_table(file: Path) -> TextTable:
    """Return the texts of a file: .txt, .csv or .parquet with columns label, kind, template, or .json.

    Raises:
        OodgridError: It is missing, unreadable or holds something else.
    """
    existing(file)
    if file.suffix in (".csv", ".parquet"):
        return _columns(file)
    names = _json(file) if file.suffix == ".json" else [line for line in read_lines(file) if line.strip()]
    return TextTable(names, [""] * len(names))


def read_classes(file: Path) -> list[str]:
    """Return class names from a file: as `file:` of a label list takes them, or a JSON object from index to name.

    Raises:
        OodgridError: It is missing, unreadable or holds something else.
    """
    return read_names(file) if file.suffix == ".json" else read_table(file).names


def read_pool(file: Path, *, blind: bool) -> TextTable:
    """Return the names of ReNeg's pool (NabilRafi/ReNeg, src/reneg/resources/kg_pool.json), their clusters as kinds.

    Args:
        file: The file.
        blind: Leave out names of classes of SSB-hard and NINCO, two near-OOD sets, as in all headline results.

    Raises:
        OodgridError: It is missing, unreadable or no such file, or no name is left.
    """
    content: Any = read_json(existing(file))
    entries = content.get("pool") if isinstance(content, dict) else None
    asked: dict[str, type] = {"name": str, "cluster": int} | dict.fromkeys(("in_ssb_hard", "in_ninco") * blind, bool)
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and all(type(entry.get(key)) is kind for key, kind in asked.items())
        for entry in entries
    ):
        raise OodgridError(
            f"{file} is no pool of ReNeg: kg_pool.json of NabilRafi/ReNeg has a list 'pool' of objects with "
            f"{', '.join(asked)}"
        )
    kept = [entry for entry in entries if not (blind and (entry["in_ssb_hard"] or entry["in_ninco"]))]
    kept = [entry for entry in kept if entry["name"].strip()]
    if not kept:
        raise OodgridError(
            f"{file}: no name is left of {counted(len(entries), 'name')} (blank ones go, and with --blind classes of "
            "SSB-hard and NINCO): give the authors' whole file"
        )
    return TextTable([entry["name"] for entry in kept], [f"cluster {entry['cluster']}" for entry in kept])


def write_table(out: Path, table: TextTable, force: bool = False) -> Path:
    """Write texts and their kinds as CSV and return the file.

    Raises:
        OodgridError: It is no .csv, or there already.
    """
    import polars as pl

    refuse_to_overwrite(out, force, ".csv")
    with store.atomic(out) as beside:
        frames.write_csv(beside, pl.DataFrame({"label": table.names, "kind": table.kinds}))
    return out


def write_answers(out: Path, answers: dict[str, list[str]]) -> Path:
    """Write texts by topic or class as JSON and return the file."""
    with store.atomic(out) as beside:
        beside.write_text(json.dumps(answers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return out


def refuse_to_overwrite(out: Path, force: bool, suffix: str) -> None:
    """Raise if a file has another suffix, or exists and must not be overwritten."""
    if out.suffix != suffix:
        raise OodgridError(f"{out} is no {suffix}: name it so, for label lists to read it")
    store.refuse_to_replace(out, force)


def _columns(file: Path) -> TextTable:
    import polars as pl

    table = frames.read_csv(file, infer_schema=False) if file.suffix == ".csv" else frames.read_parquet(file)[0]
    try:
        known = table.select(pl.col(name).cast(pl.String).fill_null("") for name in COLUMNS if name in table.columns)
    except pl.exceptions.PolarsError as error:
        raise OodgridError(f"{file}: a column of labels holds no text: {str(error).splitlines()[0][:150]}") from error
    if "label" not in known.columns:
        raise OodgridError(f"{file} has no column 'label', but {', '.join(table.columns)[:100]}")
    columns = {name: known[name].to_list() for name in known.columns}
    if wrong := next((text for text in columns.get("template", ()) if text and "{}" not in text), None):
        raise OodgridError(f"{file}: template {wrong!r} lacks {{}}, the place of the label")
    return TextTable(columns["label"], columns.get("kind") or [""] * len(known), columns.get("template"))


def _json(file: Path) -> list[str]:
    """Return the texts of a list, or of an object whose values are lists: by topic or class, as EOE's are.

    Of objects in a list the `name` counts, as in the categories of COCO and LVIS.
    """
    content: Any = read_json(file)
    if isinstance(content, list):
        content = [entry.get("name") if isinstance(entry, dict) else entry for entry in content]
    lists = list(content.values()) if isinstance(content, dict) else [content]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise OodgridError(f"{file} must hold a list of labels, or an object with a list of labels for every key")
    return [name for names in lists for name in names if name.strip()]
