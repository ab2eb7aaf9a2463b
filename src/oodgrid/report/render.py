"""One table, four clothes: booktabs LaTeX, Markdown, HTML and CSV."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from oodgrid.report import select
from oodgrid.report.names import Legend


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        key: Name of the column in the table's frame; `<key>_std` stands beside it.
        header: What a reader sees, outermost level first; equal neighbours share a spanning header.
        better: "↑" or "↓" where one direction is better, which marks best and second; else "".
    """

    key: str
    header: tuple[str, ...]
    better: str = ""


@dataclass(frozen=True)
class Table:
    """A table before it is typeset.

    Attributes:
        caption: Lines that state what is shown and under which conventions.
        stubs: Names of the columns that name a row: of method, score, shots.
        columns: The columns of numbers.
        frame: One row a line of the table; numbers are fractions, null where there is none.
        legend: The titles of its methods and scores.
        notes: Lines to stand under the table.
    """

    caption: list[str]
    stubs: list[str]
    columns: list[Column]
    frame: pl.DataFrame
    legend: Legend
    notes: list[str] = field(default_factory=list)


class Cell(NamedTuple):
    """One printed number."""

    mean: str
    std: str
    mark: str


class Row(NamedTuple):
    """One printed row; `gap` where it opens a new method of several rows."""

    names: list[str]
    cells: list[Cell]
    gap: bool


class Span(NamedTuple):
    """One header cell over `width` columns from `start`; a leaf names a single column."""

    text: str
    start: int
    width: int
    leaf: bool


def latex(table: Table) -> str:
    """Typeset as a booktabs `tabular`; the caption stands above it as a comment."""
    levels = []
    for level in _header(table):
        ruled = [span for span in level if span.text and not span.leaf]
        rules = "".join(f"\\cmidrule(lr){{{span.start + 1}-{span.start + span.width}}}" for span in ruled)
        levels.append({"line": " & ".join(_latex_span(span) for span in level), "rules": rules})
    rows = [
        {"line": " & ".join([*map(escape_latex, row.names), *map(_latex_cell, row.cells)]), "gap": row.gap}
        for row in _rows(table)
    ]
    width = len(table.stubs) + len(table.columns)
    # A \multicolumn does not break lines, so notes are broken to about the width of the table.
    notes = [part for note in table.notes for part in textwrap.wrap(note, max(72, 10 * width))]
    template = _LATEX.get_template("table.tex.j2")
    return template.render(table=table, levels=levels, rows=rows, width=width, notes=map(escape_latex, notes))


def markdown(table: Table) -> str:
    """Typeset as a GitHub table: best in bold, second underlined, headers flattened."""
    header = [" · ".join(part for part in column.header if part) for column in table.columns]
    return _PLAIN.get_template("table.md.j2").render(
        table=table,
        header=[escape_markdown(name) for name in [*_stub_labels(table), *header]],
        rules=[":--"] * len(table.stubs) + ["--:"] * len(table.columns),
        rows=[[*map(escape_markdown, row.names), *map(_markdown_cell, row.cells)] for row in _rows(table)],
    )


def html(table: Table) -> str:
    """Typeset as an HTML table with its notes, without the caption."""
    template = _HTML.get_template("table.html.j2")
    return template.render(table=table, levels=list(_header(table)), rows=list(_rows(table)), stubs=len(table.stubs))


def csv(table: Table) -> str:
    """Typeset as CSV: names as in the config, percent unrounded, empty where there is no number."""
    numbers = [name for column in table.columns for name in (column.key, f"{column.key}_std")]
    stubs = [name for name in table.frame.columns if name not in numbers]
    percent = ((pl.col(name) * 100).alias(_percent_name(name)) for name in numbers)
    return inert(table.frame.select(*stubs, *percent)).write_csv()


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


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it stands; the signs this project prints become their commands."""
    return "".join(_LATEX_SIGNS.get(sign, sign) for sign in " ".join(text.split()))


def escape_markdown(text: str) -> str:
    """Return text that stays in its cell and is not taken for markup."""
    return re.sub(r"[\\|*<`\[\]~$&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))


def _percent_name(key: str) -> str:
    return f"{key.removesuffix('_std')}_percent{'_std' if key.endswith('_std') else ''}"


def _rows(table: Table) -> Iterator[Row]:
    """Yield printed rows; with two stubs or more that repeat, a gap opens each new first stub."""
    marks = {column.key: select.marks(table.frame[column.key], column.better) for column in table.columns}
    repeats = "score" in table.stubs
    previous = None
    for number, values in enumerate(table.frame.iter_rows(named=True)):
        cells = []
        for column in table.columns:
            std = values[f"{column.key}_std"]
            mean = select.percent(values[column.key])
            cells.append(Cell(mean, "" if std is None else select.percent(std), marks[column.key][number]))
        first = values[table.stubs[0]]
        yield Row(
            [_stub(table.legend, name, values[name]) for name in table.stubs],
            cells,
            repeats and previous not in (None, first),
        )
        previous = first


def _stub(legend: Legend, name: str, value: Any) -> str:
    return str({"method": legend.methods, "score": legend.scores}.get(name, {}).get(value, value))


def _stub_labels(table: Table) -> list[str]:
    return [name.capitalize() for name in table.stubs]


def _header(table: Table) -> Iterator[list[Span]]:
    """Yield the header's levels; neighbours under the same headers share a span on all but the last level."""
    depth = max((len(column.header) for column in table.columns), default=1)
    blank = ("",) * (depth - 1)
    headers = [(*blank, label) for label in _stub_labels(table)] + [column.header for column in table.columns]
    for level in range(depth - 1):
        spans = []
        for start, header in enumerate(headers):
            before = headers[start - 1][: level + 1] if start else None
            if header[level] and header[: level + 1] == before:
                spans[-1] = spans[-1]._replace(width=spans[-1].width + 1)
            else:
                spans.append(Span(header[level], start, 1, leaf=False))
        yield spans
    yield [Span(header[-1], start, 1, leaf=True) for start, header in enumerate(headers)]


def _latex_span(span: Span) -> str:
    text = escape_latex(span.text)
    if span.leaf:
        name, bracket, rest = text.partition(" (")
        return f"\\shortstack[r]{{{name}\\\\({rest}}}" if bracket else text
    return f"\\multicolumn{{{span.width}}}{{c}}{{{text}}}" if span.text else ""


def _latex_cell(cell: Cell) -> str:
    wrapped = {"best": f"\\textbf{{{cell.mean}}}", "second": f"\\underline{{{cell.mean}}}"}.get(cell.mark, cell.mean)
    return f"{wrapped}$_{{\\pm {cell.std}}}$" if cell.std else wrapped


def _markdown_cell(cell: Cell) -> str:
    wrapped = {"best": f"**{cell.mean}**", "second": f"<u>{cell.mean}</u>"}.get(cell.mark, cell.mean)
    return f"{wrapped} ±{cell.std}" if cell.std else wrapped


_LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "†": r"$^{\dagger}$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "±": r"$\pm$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$", "→": r"$\rightarrow$", "·": r"$\cdot$",
}  # fmt: skip


def _environment(**options: Any) -> Environment:
    loader = PackageLoader("oodgrid.report")
    return Environment(
        loader=loader,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


_PLAIN = _environment()
_HTML = _environment(autoescape=True)
_LATEX = _environment(
    block_start_string="\\BLOCK{",
    block_end_string="}",
    variable_start_string="\\VAR{",
    variable_end_string="}",
    comment_start_string="\\#{",
    comment_end_string="}",
)
