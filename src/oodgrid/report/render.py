"""One table, four clothes: this module has its description, Markdown, HTML and CSV; `latex` has the fourth."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from oodgrid.report.names import Legend
from oodgrid.report.select import percent

PARTS = ("lo", "hi", "seed_sd")  # beside the mean of every column, as <key>.lo and so on; <key>.best too
STUBS = {"id_dataset": "ID set"}
ISOLATED = ("\u2068", "\u2069")  # around words of scripts that run leftward
FINE = 0.005  # intervals narrower than this deserve a second decimal


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        key: Name of the column in the table's frame, of its means; the parts stand beside it under `<key>.<part>`.
        header: What a reader sees, outermost level first; equal neighbours share a spanning header.
        metric: Of which it has the numbers.
        scope: Over what: "near", "far", "overall", "covariate", "set" or "id".
        ood_dataset: The set of scope "set".
        ranked: Whether one direction is better, so that the best set is marked.
        signed: Whether these are differences.
    """

    key: str
    header: tuple[str, ...]
    metric: str = ""
    scope: str = ""
    ood_dataset: str | None = None
    ranked: bool = True
    signed: bool = False


@dataclass(frozen=True)
class Table:
    """A table before it is typeset.

    Attributes:
        caption: Lines that state what is shown.
        stubs: Names of the columns that name a row: of method, score, shots.
        columns: The columns of numbers.
        frame: One row a line of the table; numbers are fractions, null where there is none. A column `block`, if
            there is one, holds the heading under which a row stands.
        legend: The titles of its methods and scores.
        notes: Lines to stand under the table: how to read it.
        remarks: Lines below them: what its numbers hold or lack.
        spread: What stands beside a mean: its "interval", or the "sd" over seeds.
        digits: Decimals; 0: as many as the intervals leave any meaning.
    """

    caption: list[str]
    stubs: list[str]
    columns: list[Column]
    frame: pl.DataFrame
    legend: Legend
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    spread: str = "interval"
    digits: int = 0


class Cell(NamedTuple):
    """One printed number, with the ends of its interval or the ± of its seeds, each "" where there is none."""

    mean: str
    lo: str
    hi: str
    sd: str
    best: bool


class Row(NamedTuple):
    """One printed row; `block` is the heading under which it stands, `gap` whether it opens a new method of several."""

    names: dict[str, str]
    cells: list[Cell]
    block: str
    gap: bool


class Span(NamedTuple):
    """One header cell over `width` columns from `start`; a leaf names a single column."""

    text: str
    start: int
    width: int
    leaf: bool


def notes(table: Table, style: str = "") -> list[str]:
    """Return all that stands under a table: how to read it, what stands beside its means, and its remarks.

    Args:
        table: The table.
        style: How LaTeX prints numbers, one of `latex.STYLES`; by default all is printed.
    """
    return [*table.notes, *_about_spread(table, style), *table.remarks]


def _about_spread(table: Table, style: str) -> list[str]:
    """Return what stands beside a mean, or that it is left out for want of room; nothing where there is nothing."""
    part, what = ("lo", "95 % intervals") if table.spread == "interval" else ("seed_sd", "Deviations over seeds")
    shown = [f"{column.key}.{part}" for column in table.columns if f"{column.key}.{part}" in table.frame.columns]
    if not any(table.frame[name].count() for name in shown):
        return []
    if style == "plain":
        return [f"{what} are left out for want of room; the table's CSV and HTML have them."]
    if table.spread == "sd":
        return ["±: one standard deviation over seeds."]
    ends = ", their ends above and below" if style == "small" else ""
    return [f"Intervals{ends}: 95 % for the expected performance, from test samples and fits."]


def markdown(table: Table) -> str:
    """Typeset as a GitHub table: the best set in bold, headers flattened, headings as rows."""
    header = [" · ".join(part for part in column.header if part) for column in table.columns]
    lines, block = [], ""
    for row in rows(table):
        if row.block != block:
            block = row.block
            lines.append([f"*{escape_markdown(block)}*"] + [""] * (len(table.stubs) + len(table.columns) - 1))
        lines.append([*map(escape_markdown, row.names.values()), *map(_markdown_cell, row.cells)])
    return _PLAIN.get_template("table.md.j2").render(
        table=table,
        notes=notes(table),
        header=[escape_markdown(name) for name in [*stub_labels(table), *header]],
        rules=[":--"] * len(table.stubs) + ["--:"] * len(table.columns),
        rows=lines,
    )


def html(table: Table) -> str:
    """Typeset as an HTML table with its notes, without the caption."""
    template = _HTML.get_template("table.html.j2")
    return template.render(
        table=table, notes=notes(table), levels=list(header(table)), rows=list(rows(table)), stubs=len(table.stubs)
    )


def csv(table: Table) -> str:
    """Typeset as CSV: names as in the config, percent unrounded, empty where there is no number."""
    numbers = {}
    for column in table.columns:
        numbers[column.key] = f"{column.key}_percent"
        numbers |= {f"{column.key}.{part}": f"{column.key}_percent_{part}" for part in PARTS}
    marks = {f"{column.key}.best": f"{column.key}_in_best_set" for column in table.columns if column.ranked}
    stubs = [name for name in ("block", *table.stubs, "seeds") if name in table.frame.columns]
    values = [(pl.col(name) * 100).alias(title) for name, title in numbers.items() if name in table.frame.columns]
    flags = [pl.col(name).alias(title) for name, title in marks.items() if name in table.frame.columns]
    return inert(table.frame.select(*stubs, *values, *flags)).write_csv()


def inert(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame whose words no spreadsheet takes for a formula: an apostrophe goes before =, +, - and @."""
    formula = pl.col(pl.String).str.contains(r"^[=+\-@\t\r]")
    return frame.with_columns(pl.when(formula).then("'" + pl.col(pl.String)).otherwise(pl.col(pl.String)).name.keep())


def page(template: str, **values: Any) -> str:
    """Fill an HTML template of this package; what is no `Markup` is escaped."""
    return _HTML.get_template(template).render(**values)


def markdown_list(frame: pl.DataFrame) -> str:
    """Typeset a frame of words as a GitHub table."""
    lines = [frame.columns, [":--"] * frame.width, *frame.rows()]
    return "".join(f"| {' | '.join(escape_markdown(str(value)) for value in line)} |\n" for line in lines)


def escape_markdown(text: str) -> str:
    """Return text that stays in its cell and is not taken for markup, nor turns the words around it to the left."""
    escaped = re.sub(r"[\\|*<`\[\]~$&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))
    leftward = any(unicodedata.bidirectional(sign) in ("R", "AL") for sign in escaped)
    return f"{ISOLATED[0]}{escaped}{ISOLATED[1]}" if leftward else escaped


def rows(table: Table) -> Iterator[Row]:
    """Yield printed rows; where scores of a method follow one another, a gap opens each new method."""
    digits, previous = table.digits or _digits(table), None
    repeats = "score" in table.stubs and "block" not in table.frame.columns
    for values in table.frame.iter_rows(named=True):
        cells = [_cell(column, values, digits, table.spread) for column in table.columns]
        first, block = values[table.stubs[0]], values.get("block") or ""
        names = {name: _stub(table.legend, name, values[name]) for name in table.stubs}
        yield Row(names, cells, block, repeats and previous not in (None, first))
        previous = first


def header(table: Table) -> Iterator[list[Span]]:
    """Yield the header's levels; neighbours under the same headers share a span on all but the last level."""
    depth = max((len(column.header) for column in table.columns), default=1)
    blank = ("",) * (depth - 1)
    headers = [(*blank, label) for label in stub_labels(table)]
    headers += [("",) * (depth - len(column.header)) + column.header for column in table.columns]
    for level in range(depth - 1):
        spans: list[Span] = []
        for start, names in enumerate(headers):
            before = headers[start - 1][: level + 1] if start else None
            if names[level] and names[: level + 1] == before:
                spans[-1] = spans[-1]._replace(width=spans[-1].width + 1)
            else:
                spans.append(Span(names[level], start, 1, leaf=False))
        yield spans
    yield [Span(names[-1], start, 1, leaf=True) for start, names in enumerate(headers)]


def stub_labels(table: Table) -> list[str]:
    """Return the headers of the columns that name a row."""
    return [STUBS.get(name, name.capitalize()) for name in table.stubs]


def _digits(table: Table) -> int:
    """Return how many decimals the intervals of a table leave any meaning."""
    widths = []
    for column in table.columns:
        if f"{column.key}.lo" in table.frame.columns:
            widths += (table.frame[f"{column.key}.hi"] - table.frame[f"{column.key}.lo"]).drop_nulls().to_list()
    return 2 if widths and median(widths) < FINE else 1


def _cell(column: Column, values: dict[str, Any], digits: int, spread: str) -> Cell:
    known = {part: values.get(f"{column.key}.{part}") for part in PARTS}
    wanted = ("lo", "hi") if spread == "interval" else ("seed_sd",)
    printed = {
        part: "" if value is None or part not in wanted else percent(value, digits, column.signed and part != "seed_sd")
        for part, value in known.items()
    }
    mean = percent(values[column.key], digits, column.signed)
    return Cell(mean, printed["lo"], printed["hi"], printed["seed_sd"], bool(values.get(f"{column.key}.best")))


def _stub(legend: Legend, name: str, value: Any) -> str:
    return str({"method": legend.methods, "score": legend.scores}.get(name, {}).get(value, value))


def _markdown_cell(cell: Cell) -> str:
    mean = f"**{cell.mean}**" if cell.best else cell.mean
    beside = f" [{cell.lo}, {cell.hi}]" if cell.lo else f" ±{cell.sd}" if cell.sd else ""
    return mean + beside


def environment(**options: Any) -> Environment:
    """Return what fills the templates of this package."""
    return Environment(
        loader=PackageLoader("oodgrid.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


_PLAIN = environment()
_HTML = environment(autoescape=True)
