"""The table of results beside what others published: apart from all others, in no ranking, only where settings match.

Which values those are depends on how many samples there are, which no plan knows: its files are no outputs of the rule
`tables`, which writes and removes them beside its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from oodgrid import paths
from oodgrid.measures import MEASURES
from oodgrid.published import Comparison, Ours, catalogued, compared
from oodgrid.report import latex, render
from oodgrid.report.names import Legend
from oodgrid.report.render import Column, Table
from oodgrid.store import atomic

NAME = "published"
COLUMNS = (
    Column("ours", ("Ours",), ranked=False),
    Column("theirs", ("Theirs",), ranked=False),
    Column("difference", ("Diff.",), ranked=False, signed=True),
    Column("tolerance", ("Tol.",), ranked=False),
)
STUBS = ("source", "method", "shots", "score", "set", "metric", "verdict")


def matching(ours: Ours) -> list[Comparison]:
    """Return the published values that compare with ours."""
    return [each for each in compared(catalogued(), ours) if not each.reasons]


def of_pair(comparisons: Sequence[Comparison], metrics: pl.DataFrame, backbone: str, id_dataset: str) -> Table | None:
    """Return the table of one pair; None where no published value compares.

    Args:
        comparisons: Those of all pairs.
        metrics: The rows of metrics.parquet.
        backbone: Name.
        id_dataset: Name.
    """
    shown = [each for each in comparisons if each.row is not None and each.row[:2] == (backbone, id_dataset)]
    if not shown:
        return None
    frame = pl.DataFrame([_line(each) for each in shown], schema=_schema())
    caption = [f"Beside published numbers: {id_dataset} with {backbone}, in percent; no ranking."]
    return Table(caption, list(STUBS), list(COLUMNS), frame, Legend.of(metrics), _notes(shown), digits=2)


def write(comparisons: Sequence[Comparison], metrics: pl.DataFrame, results: Path, experiment: str) -> list[Path]:
    """Write the table of every pair that has one beside its other tables, remove those of pairs that have none.

    Returns:
        The files.
    """
    files = []
    folder = paths.report(results, experiment, "tables")
    for backbone, id_dataset in metrics.select("backbone", "id_dataset").unique(maintain_order=True).rows():
        table = of_pair(comparisons, metrics, backbone, id_dataset)
        for suffix, typeset in _typeset(table, f"tab:{experiment}:{backbone}:{id_dataset}:{NAME}").items():
            file = folder / backbone / id_dataset / f"{NAME}.{suffix}"
            if typeset is None:
                file.unlink(missing_ok=True)
                continue
            with atomic(file) as beside:
                beside.write_text(typeset, encoding="utf-8")
            files.append(file)
    return files


def _typeset(table: Table | None, label: str) -> dict[str, str | None]:
    if table is None:
        return dict.fromkeys(("tex", "md", "csv", "html"))
    plain = {"md": render.markdown, "csv": render.csv, "html": render.html}
    return {"tex": latex.latex(table, label=label), **{suffix: typeset(table) for suffix, typeset in plain.items()}}


def _schema() -> dict[str, type[pl.DataType]]:
    numbers = [column.key for column in COLUMNS]
    return {**dict.fromkeys(STUBS, pl.String), **dict.fromkeys([*numbers, "ours.lo", "ours.hi"], pl.Float64)}


def _line(each: Comparison) -> dict[str, str | float | None]:
    value, row = each.value, each.row
    assert row is not None
    words = {
        "source": value.about.title,
        "method": row.method,
        "shots": str(row.shots),
        "score": row.score if value.oods else "",
        "set": " + ".join(each.oods) or row.id_dataset,
        "metric": MEASURES[value.metric].title,
        "verdict": each.verdict,
    }
    numbers = {"ours": each.ours, "theirs": value.number, "difference": each.difference, "tolerance": value.tolerance}
    return words | numbers | {"ours.lo": each.lo, "ours.hi": each.hi}


def _notes(shown: Sequence[Comparison]) -> list[str]:
    """Return where the numbers are from, and what was not compared."""
    notes = ["Diff.: ours less theirs. Tol.: how far apart two runs of the setting may lie; its reason is below."]
    for key in dict.fromkeys(each.value.source for each in shown):
        those = [each for each in shown if each.value.source == key]
        about, open_ = those[0].value.about, sorted({what for each in those for what in each.unchecked})
        unchecked = [f"Not stated there, so not compared: {', '.join(open_)}."] if open_ else []
        notes.append(" ".join([f"{about.title}: {about.paper}. Tolerance: {about.tolerance.why}.", *unchecked]))
    return notes
