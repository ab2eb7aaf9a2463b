from __future__ import annotations

import io
from dataclasses import replace

import polars as pl
import pytest

from oodgrid.report import latex, render
from oodgrid.report.names import Legend
from oodgrid.report.render import Column, Table

LEGEND = Legend({"zero_shot": "Zero-shot", "coop": "CoOp"}, {"mcm": "MCM", "msp": "MSP"}, {})


@pytest.fixture
def table():
    none = [None, None, None]
    frame = pl.DataFrame(
        {
            "method": ["zero_shot", "coop", "my_own"],
            "shots": [0, 16, 16],
            **numbers("near.auroc", [0.8, 0.9, None], [0.78, 0.88, None], [0.82, 0.92, None], [None, 0.0123, None]),
            "near.auroc.best": [False, True, None],
            **numbers("near.fpr95_id_pos", [0.5, 0.5, None], none, none, [None, 0.1, None]),
            "near.fpr95_id_pos.best": [True, True, None],
        }
    )
    columns = [
        Column("near.auroc", ("Near OOD", "AUROC ↑")),
        Column("near.fpr95_id_pos", ("Near OOD", "FPR95 (ID pos.) ↓")),
    ]
    notes = ["† A & B.", "-- none."]
    return Table(["Made up, 100% so."], ["method", "shots"], columns, frame, LEGEND, notes, spread="interval")


def numbers(key, *parts):
    names = (key, *(f"{key}.{part}" for part in render.PARTS))
    return {name: pl.Series(values, dtype=pl.Float64) for name, values in zip(names, parts, strict=True)}


def test_latex(table):
    text = latex.latex(table)
    assert text.startswith("% Made up, 100% so.\n")
    body = text[text.index("\\begin{tabular}") : text.index("\\end{tabular}")]
    assert body == (
        "\\begin{tabular}{@{}lrr@{}}\n"
        "\\toprule\n"
        " & \\multicolumn{2}{c}{Near OOD} \\\\\n"
        "\\cmidrule(lr){2-3}\n"
        "Method & AUROC $\\uparrow$ & FPR95 (ID pos.) $\\downarrow$ \\\\\n"
        "\\midrule\n"
        "Zero-shot & 80.0 [78.0, 82.0] & \\textbf{50.0} \\\\\n"
        "CoOp & \\textbf{90.0} [88.0, 92.0] & \\textbf{50.0} \\\\\n"
        "my\\_own & -- & -- \\\\\n"
        "\\bottomrule\n"
    )
    assert "$^{\\dagger}$ A \\& B.\\par\n-- none.\\par\nIntervals: 95" in text
    assert "\\textbf{50.0} $\\pm$ 10.0" in latex.latex(replace(table, spread="sd"))


def test_markdown(table):
    assert render.markdown(table) == (
        "Made up, 100% so.\n"
        "\n"
        "| Method | Shots | Near OOD · AUROC ↑ | Near OOD · FPR95 (ID pos.) ↓ |\n"
        "|:--|:--|--:|--:|\n"
        "| Zero-shot | 0 | 80.0 [78.0, 82.0] | **50.0** |\n"
        "| CoOp | 16 | **90.0** [88.0, 92.0] | **50.0** |\n"
        "| my_own | 16 | -- | -- |\n"
        "\n† A & B.\n"
        "\n-- none.\n"
        "\nIntervals: 95 % for the expected performance, from test samples and fits.\n"
    )
    assert "| CoOp | 16 | **90.0** ±1.2 | **50.0** ±10.0 |" in render.markdown(replace(table, spread="sd"))


def test_a_second_decimal_stands_where_intervals_are_narrower_than_half_a_point(table):
    frame = table.frame.with_columns(pl.col("near.auroc.hi") - 0.0385)
    assert "90.00 [88.00, 88.15]" in render.markdown(replace(table, frame=frame)).replace("*", "")


def test_csv(table):
    read = pl.read_csv(io.StringIO(render.csv(table)))
    assert read["method"].to_list() == ["zero_shot", "coop", "my_own"]
    assert read["near.auroc_percent"].to_list() == [80.0, 90.0, None]
    assert read["near.auroc_percent_lo"].to_list() == [78.0, 88.0, None]
    assert read["near.auroc_percent_seed_sd"].to_list() == [None, 1.23, None]
    assert read["near.auroc_in_best_set"].to_list() == [False, True, None]


def test_html(table):
    text = render.html(table)
    assert '<th scope="colgroup" colspan="2" class="number group">Near OOD</th>' in text
    assert '<td class="best">90.0<small> [88.0, 92.0]</small></td>' in text
    assert "† A &amp; B." in text
    assert text.count("<td") == 6


def test_rows_of_one_method_stand_together(table):
    frame = pl.DataFrame({"method": ["coop", "coop", "zero_shot"], "score": ["mcm", "msp", "msp"]})
    lines = latex.latex(Table([], ["method", "score"], [], frame, LEGEND)).splitlines()
    assert lines[lines.index(" & MSP \\\\") + 1] == "\\addlinespace"
    assert lines.count("\\addlinespace") == 1


def test_escape_markdown_keeps_a_cell_a_cell():
    assert render.escape_markdown("a|b\n*c* <d>") == "a\\|b \\*c\\* \\<d>"
    lines = render.markdown_list(pl.DataFrame({"name": ["a|b"], "reason": ["x\ny"]})).splitlines()
    assert lines == ["| name | reason |", "| :-- | :-- |", "| a\\|b | x y |"]


def test_html_is_escaped(table):
    frame = table.frame.with_columns(method=pl.lit("<script>"))
    assert "<script>" not in render.html(Table([], table.stubs, table.columns, frame, LEGEND))
