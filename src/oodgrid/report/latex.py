"""Tables in LaTeX, at footnotesize, in the width of a two-column page or of one of its columns.

Widths are estimated from those of Computer Modern, so that each table is as wide as its words and breaks into several
only where it must: into parts of fewer columns, and after as many rows as a page holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil, inf
from typing import Any

from oodgrid.report import render
from oodgrid.report.letters import DEFINED, escape_latex, needs_unicode
from oodgrid.report.render import Cell, Row, Span, Table
from oodgrid.report.widths import abbreviated, cell_width, text_width, wrapped

NOTES = 0.9  # of the notes' smaller type
NARROWEST = 40.0  # of a column of words that breaks lines
PAGE = 535.0  # height of the text on a page
STYLES = {"interval": ("full", "small", "plain"), "sd": ("beside", "below", "plain")}  # from wide to narrow
BROKEN = ">{\\raggedright\\arraybackslash}X"
LETTERS = (18, 14, 12, 10, 8, 7, 6)  # of a line of a column's header, from wide to narrow
MOST_IN_FULL = 6  # long names that a column's notes hold
FLOATS = 8  # tables after which LaTeX must put them out


@dataclass(frozen=True)
class Layout:
    """Where a table stands.

    Attributes:
        environment: The float of that width.
        width: Of the text there, at least, in pt.
        gap: Half of the space between columns.
        name: Width of a method's or score's name at most, in pt; longer ones are cut, and whole in a note.
        joined: Whether the score stands beside the method, in one column.
    """

    environment: str
    width: float
    gap: float
    name: float
    joined: bool = False


TEXT, COLUMN = Layout("table*", 450.0, 2.5, 110.0), Layout("table", 219.0, 1.6, 80.0, joined=True)


@dataclass(frozen=True)
class _Part:
    """One float: some columns and some rows of a table.

    Attributes:
        stubs: The words of every row.
        labels: The headers of the stubs.
        rows: The rows.
        columns: Positions of the columns.
        style: How numbers are printed.
        limit: Letters of a line of a column's header.
        broken: Positions of the stubs that break lines.
        last: Whether the notes stand under it.
    """

    stubs: list[list[str]]
    labels: list[str]
    rows: list[Row]
    columns: Sequence[int]
    style: str
    limit: int
    broken: tuple[int, ...]
    last: bool


def latex(table: Table, layout: Layout = TEXT, label: str = "") -> str:
    """Typeset as booktabs tables, each in a float of its own unless the file is read within one.

    Args:
        table: The table.
        layout: Of the width of the text, or of a column.
        label: By which the first is referred to.
    """
    rows, whole = _short_names(list(render.rows(table)), layout)
    table = replace(table, notes=[*table.notes, *whole])
    parts = list(_parts(table, rows, layout))
    floats = [_float(part, table, layout) for part in parts]
    caption = [escape_latex(line) for line in table.caption]
    notes = [escape_latex(note) for note in render.notes(table, parts[0].style if parts else STYLES[table.spread][0])]
    text = _LATEX.get_template("table.tex.j2").render(
        layout=layout,
        caption=" ".join(caption),
        about=[" ".join(line.split()) for line in table.caption],
        label=re.sub(r"[^A-Za-z0-9:]+", "-", label),
        floats=floats,
        notes=notes,
        most=FLOATS,
    )
    return text.replace("%letters%\n", f"{_UNICODE}{DEFINED}\n" if needs_unicode(text) else "")


_UNICODE = (
    "% Some names hold letters that pdfTeX prints as substitutes. For the letters themselves use XeLaTeX or LuaLaTeX,\n"
    "% with a font that has them: \\usepackage{fontspec}\\setmainfont{...}.\n"
)


# ------------------------------------------------------------------------------------------------------- parts


def _short_names(rows: list[Row], layout: Layout) -> tuple[list[Row], list[str]]:
    """Return rows whose long names of methods and scores are cut, and the note that has them whole."""
    short: dict[str, str] = {}
    for column in ("method", "score"):
        short |= abbreviated((row.names[column] for row in rows if column in row.names), layout.name)
    shown = [row._replace(names={key: short.get(name, name) for key, name in row.names.items()}) for row in rows]
    if layout.joined and len(short) > MOST_IN_FULL:  # they would fill the page
        return shown, ["Names that are cut stand in full under the wide table and in its Markdown."]
    return shown, [f"Names in full: {'; '.join(f'{cut} is {name}' for name, cut in short.items())}."] * bool(short)


def _parts(table: Table, rows: list[Row], layout: Layout) -> Iterator[_Part]:
    """Yield what each float shows."""
    stubs, labels = _stubs(table, rows, layout)
    widths = [max([text_width(label), *(text_width(names[i]) for names in stubs)]) for i, label in enumerate(labels)]
    space = sum(min(width, 1.3 * NARROWEST) + 2 * layout.gap for width in widths)
    styles = STYLES[table.spread]
    least = sum(min(width, NARROWEST) + 2 * layout.gap for width in widths)
    spaces = dict.fromkeys(styles, least) | {styles[0]: space}
    style, limit, numbers = _setting(table, rows, layout, spaces)
    panels = list(_panels(numbers, layout.width - least))
    for columns in panels:
        room = layout.width - sum(numbers[i] for i in columns) - 2 * layout.gap * len(labels)
        broken = _broken(widths, room)
        lines = [_lines(names, broken, room, widths) for names in _named_once(rows, stubs)]
        pages = list(_pages(table, rows, lines, style, layout))
        for page in pages:
            last = columns is panels[-1] and page is pages[-1]
            shown = _named_once([rows[i] for i in page], [stubs[i] for i in page])
            yield _Part(shown, labels, [rows[i] for i in page], columns, style, limit, broken, last)


def _stubs(table: Table, rows: list[Row], layout: Layout) -> tuple[list[list[str]], list[str]]:
    """Return the words that name each row and their headers: none that are the same for all rows of a block."""
    names = list(table.stubs)
    shots = {row.names["shots"] for row in rows if "shots" in names} - {"0"}
    if len(shots) < 2 and "shots" in names:
        names.remove("shots")
    one = {block for block, of in _blocks(rows) if len({row.names.get("score") for row in of}) == 1}
    if "score" in names and one >= {row.block for row in rows}:
        names.remove("score")
    stubs = [[row.names[name] if name != "score" or row.block not in one or not row.block else ""
              for name in names] for row in rows]  # fmt: skip
    if layout.joined and {"method", "score"} <= set(names):
        at, score = names.index("method"), names.index("score")
        stubs = [
            [", ".join(filter(None, (line[at], line[score]))) if i == at else word
             for i, word in enumerate(line) if i != score] for line in stubs
        ]  # fmt: skip
        names.remove("score")
    return stubs, [name.capitalize() for name in names]


def _blocks(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    return [(block, list(of)) for block, of in groupby(rows, key=lambda row: row.block)]


def _panels(widths: list[float], room: float) -> Iterator[list[int]]:
    """Yield the columns that fit beside each other."""
    columns: list[int] = []
    for i, width in enumerate(widths):
        if columns and sum(widths[j] for j in columns) + width > room:
            yield columns
            columns = []
        columns.append(i)
    yield columns


def _broken(widths: list[float], room: float) -> tuple[int, ...]:
    """Return which columns of words must break lines, the widest first."""
    broken: list[int] = []
    while sum(NARROWEST if i in broken else width for i, width in enumerate(widths)) > room:
        rest = [i for i in range(len(widths)) if i not in broken]
        if not rest:
            break
        broken.append(max(rest, key=lambda i: widths[i]))
    return tuple(sorted(broken))


def _lines(names: list[str], broken: tuple[int, ...], room: float, widths: list[float]) -> int:
    """Return how many lines a row takes."""
    if not broken:
        return 1
    each = (room - sum(width for i, width in enumerate(widths) if i not in broken)) / len(broken)
    wide = [text_width(names[i]) / max(each, NARROWEST) for i in broken]
    return max(1 if share <= 1 else ceil(1.25 * share) for share in wide)


def _pages(table: Table, rows: list[Row], lines: list[int], style: str, layout: Layout) -> Iterator[list[int]]:
    """Yield the rows that a page holds, under caption and header; with the last the notes."""
    notes = sum(ceil(1.15 * NOTES * text_width(note) / layout.width) for note in render.notes(table, style)) * 8.5 + 10
    caption = (1 + ceil(1.3 * text_width(" ".join(table.caption)) / layout.width)) * 12 + 60
    full = PAGE - caption
    heights = [12.6 * count if style == "small" else 10.5 * count for count in lines]
    page: list[int] = []
    left, used, limit = sum(heights) + 16 * len({row.block for row in rows} - {""}), 0.0, 0.0
    for i, height in enumerate(heights):
        if not page:  # the last page must hold the notes too; the last two are about as full as each other
            rest = left + notes
            limit = inf if rest <= full else max(rest - full, min(left, rest) / 2) if rest <= 2 * full else full
        height += 16 if rows[i].block and (not page or rows[i].block != rows[i - 1].block) else 3 * rows[i].gap
        page.append(i)
        used, left = used + height, left - height
        if used >= limit - 12 and left > 0.5:
            yield page
            page, used = [], 0.0
    if page:
        yield page


def _named_once(rows: list[Row], stubs: list[list[str]]) -> list[list[str]]:
    """Return the words of rows, where several rows of one method follow one another only the first named."""
    if not rows or len(stubs[0]) < 2 or rows[0].block:
        return stubs
    return [
        ["" if i and names[0] == stubs[i - 1][0] else names[0], *names[1:]] if stubs else names
        for i, names in enumerate(stubs)
    ]


# ------------------------------------------------------------------------------------------------------ widths


def _setting(table: Table, rows: list[Row], layout: Layout, spaces: dict[str, float]) -> tuple[str, int, list[float]]:
    """Return the widest style that fits beside the words, the letters of a line of header, and the columns' widths.

    Args:
        table: The table.
        rows: Its rows.
        layout: Where it stands.
        spaces: The width that words need, by style.
    """
    for style, space in spaces.items():
        cells = [max((cell_width(row.cells[i], style) for row in rows), default=0.0) for i in range(len(table.columns))]
        for limit in LETTERS:
            widths = _columns(table, cells, layout, limit)
            if space + sum(widths) <= layout.width:
                return style, limit, widths
    style, limit = STYLES[table.spread][1], LETTERS[-1]
    cells = [max((cell_width(row.cells[i], style) for row in rows), default=0.0) for i in range(len(table.columns))]
    return style, limit, _columns(table, cells, layout, limit)


def _columns(table: Table, cells: list[float], layout: Layout, limit: int) -> list[float]:
    """Return the widths of the columns of numbers, with the space between them."""
    leaves = [column.header[-1] for column in table.columns]
    widths = []
    for leaf, cell in zip(leaves, cells, strict=True):
        heads = [text_width(line) for line in wrapped(leaf, limit)]
        widths.append(max([cell, *heads]) + 2 * layout.gap)
    for span in (span for level in render.header(table) for span in level if not span.leaf and span.text):
        first = span.start - len(table.stubs)
        of_span = range(first, first + span.width)
        lacking = text_width(_shorter(span, layout).text) + 2 * layout.gap - sum(widths[i] for i in of_span)
        if lacking > 0:
            widths[of_span[-1]] += lacking
    return widths


# ---------------------------------------------------------------------------------------------------- typesetting


def _float(part: _Part, table: Table, layout: Layout) -> dict[str, Any]:
    """Return what the template needs of one float."""
    columns = [table.columns[i] for i in part.columns]
    shown = Table([], [label.lower() for label in part.labels], columns, table.frame[:0], table.legend)
    levels = []
    for level in render.header(shown):
        ruled = [span for span in level if span.text and not span.leaf]
        rules = "".join(f"\\cmidrule(lr){{{span.start + 1}-{span.start + span.width}}}" for span in ruled)
        level = [_shorter(span, layout) for span in level]
        line = " & ".join(_latex_span(span, len(part.labels), part.limit) for span in level)
        levels.append({"line": line, "rules": rules})
    wide = len(part.labels) + len(columns)
    lines = []
    for number, (names, row) in enumerate(zip(part.stubs, part.rows, strict=True)):
        if row.block and (not number or row.block != part.rows[number - 1].block):
            is_wide = part.broken or text_width(row.block) > 0.9 * layout.width
            kind = "p{0.96\\linewidth}" if is_wide else "l"
            heading = f"\\multicolumn{{{wide}}}{{@{{}}{kind}@{{}}}}{{\\emph{{{escape_latex(row.block)}}}}}"
            lines.append({"line": heading, "gap": bool(number), "heading": True})
        words = [escape_latex(name, 8 if i in part.broken else 14) for i, name in enumerate(names)]
        cells = [_latex_cell(row.cells[i], part.style) for i in part.columns]
        lines.append({"line": " & ".join([*words, *cells]), "gap": row.gap and bool(number), "heading": False})
    spec = "".join(BROKEN if i in part.broken else "l" for i in range(len(part.labels)))
    return {
        "broken": bool(part.broken),
        "stretch": 1.3 if part.style == "small" else 1.1,
        "spec": spec + "r" * len(columns),
        "levels": levels,
        "rows": lines,
        "last": part.last,
    }


def _shorter(span: Span, layout: Layout) -> Span:
    """Return a spanning header without what stands in brackets, where there is little room."""
    return span if span.leaf or not layout.joined else span._replace(text=span.text.partition(" (")[0])


def _latex_span(span: Span, stubs: int, limit: int) -> str:
    if not span.leaf:
        return f"\\multicolumn{{{span.width}}}{{c}}{{{escape_latex(span.text)}}}" if span.text else ""
    if span.start < stubs:
        return escape_latex(span.text)
    lines = [escape_latex(line, 40) for line in wrapped(span.text, limit)]
    return lines[0] if len(lines) == 1 else f"\\shortstack[r]{{{(chr(92) * 2).join(lines)}}}"


def _latex_cell(cell: Cell, style: str) -> str:
    mean = f"\\textbf{{{cell.mean}}}" if cell.best else cell.mean
    mean = mean.replace("-", "$-$", 1) if cell.mean.startswith("-") and cell.mean != "--" else mean
    if cell.lo and style == "full":
        return f"{mean} [{cell.lo}, {cell.hi}]"
    if cell.lo and style == "small":
        return f"{mean}$^{{{cell.hi}}}_{{{cell.lo}}}$"
    if cell.sd and style != "plain":
        return f"{mean} $\\pm$ {cell.sd}" if style == "beside" else f"{mean}$_{{\\pm {cell.sd}}}$"
    return mean


_LATEX = render.environment(
    block_start_string="\\BLOCK{",
    block_end_string="}",
    variable_start_string="\\VAR{",
    variable_end_string="}",
    comment_start_string="\\#{",
    comment_end_string="}",
)
