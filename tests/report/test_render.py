from __future__ import annotations

import re
import shutil
import subprocess

import polars as pl
import pytest

from oodgrid.report import render
from oodgrid.report.names import Legend
from oodgrid.report.render import Column, Table

LEGEND = Legend({"zero_shot": "Zero-shot", "coop": "CoOp"}, {"mcm": "MCM", "msp": "MSP"}, {})


@pytest.fixture
def table():
    frame = pl.DataFrame(
        {
            "method": ["zero_shot", "coop", "my_own"],
            "shots": [0, 16, 16],
            "near.a_b.auroc": [0.8, 0.9, None],
            "near.a_b.auroc_std": [None, 0.0123, None],
            "near.a_b.fpr95_id_pos": [0.5, 0.5, None],
            "near.a_b.fpr95_id_pos_std": [None, 0.1, None],
        }
    )
    columns = [
        Column("near.a_b.auroc", ("Near OOD", "a_b†", "AUROC ↑"), "↑"),
        Column("near.a_b.fpr95_id_pos", ("Near OOD", "a_b†", "FPR95 (ID pos.) ↓"), "↓"),
    ]
    return Table(["Made up, 100% so."], ["method", "shots"], columns, frame, LEGEND, ["† A & B.", "-- none."])


def test_latex(table):
    assert render.latex(table) == (
        "% Made up, 100% so.\n"
        "% Needs \\usepackage{booktabs}.\n"
        "\\begin{tabular}{@{}llrr@{}}\n"
        "\\toprule\n"
        " &  & \\multicolumn{2}{c}{Near OOD} \\\\\n"
        "\\cmidrule(lr){3-4}\n"
        " &  & \\multicolumn{2}{c}{a\\_b$^{\\dagger}$} \\\\\n"
        "\\cmidrule(lr){3-4}\n"
        "Method & Shots & AUROC $\\uparrow$ & \\shortstack[r]{FPR95\\\\(ID pos.) $\\downarrow$} \\\\\n"
        "\\midrule\n"
        "Zero-shot & 0 & \\underline{80.00} & \\textbf{50.00} \\\\\n"
        "CoOp & 16 & \\textbf{90.00}$_{\\pm 1.23}$ & \\textbf{50.00}$_{\\pm 10.00}$ \\\\\n"
        "my\\_own & 16 & -- & -- \\\\\n"
        "\\bottomrule\n"
        "\\multicolumn{4}{@{}l@{}}{$^{\\dagger}$ A \\& B.} \\\\\n"
        "\\multicolumn{4}{@{}l@{}}{-- none.} \\\\\n"
        "\\end{tabular}\n"
    )


def test_markdown(table):
    assert render.markdown(table) == (
        "Made up, 100% so.\n"
        "\n"
        "| Method | Shots | Near OOD · a_b† · AUROC ↑ | Near OOD · a_b† · FPR95 (ID pos.) ↓ |\n"
        "|:--|:--|--:|--:|\n"
        "| Zero-shot | 0 | <u>80.00</u> | **50.00** |\n"
        "| CoOp | 16 | **90.00** ±1.23 | **50.00** ±10.00 |\n"
        "| my_own | 16 | -- | -- |\n"
        "\n† A & B.\n"
        "\n-- none.\n"
    )


def test_csv(table):
    assert render.csv(table) == (
        "method,shots,near.a_b.auroc_percent,near.a_b.auroc_percent_std,"
        "near.a_b.fpr95_id_pos_percent,near.a_b.fpr95_id_pos_percent_std\n"
        "zero_shot,0,80.0,,50.0,\n"
        "coop,16,90.0,1.23,50.0,10.0\n"
        "my_own,16,,,,\n"
    )


def test_html(table):
    text = render.html(table)
    assert '<th scope="colgroup" colspan="2" class="number group">Near OOD</th>' in text
    assert '<td class="best">90.00<small> ±1.23</small></td>' in text
    assert "† A &amp; B." in text
    assert text.count("<td") == 6


def test_rows_of_one_method_stand_together(table):
    frame = pl.DataFrame({"method": ["coop", "coop", "any"], "score": ["mcm", "msp", "knn"]})
    lines = render.latex(Table([], ["method", "score"], [], frame, LEGEND)).splitlines()
    assert lines[lines.index("CoOp & MSP \\\\") + 1] == "\\addlinespace"
    assert lines.count("\\addlinespace") == 1


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a_b & 50% #1", r"a\_b \& 50\% \#1"),
        ("{x}$y^2~", r"\{x\}\$y\textasciicircum{}2\textasciitilde{}"),
        ("C:\\temp", r"C:\textbackslash{}temp"),
        ("k ≤ 5 × 3", r"k $\leq$ 5 $\times$ 3"),
        ("two\nlines", "two lines"),
    ],
)
def test_escape_latex(text, latex):
    assert render.escape_latex(text) == latex


def test_escape_markdown_keeps_a_cell_a_cell():
    assert render.escape_markdown("a|b\n*c* <d>") == "a\\|b \\*c\\* \\<d>"
    lines = render.markdown_list(pl.DataFrame({"name": ["a|b"], "reason": ["x\ny"]})).splitlines()
    assert lines == ["| name | reason |", "| :-- | :-- |", "| a\\|b | x y |"]


def test_html_is_escaped(table):
    frame = table.frame.with_columns(method=pl.lit("<script>"))
    assert "<script>" not in render.html(Table([], table.stubs, table.columns, frame, LEGEND))


def columns_of(line):
    """Columns that a LaTeX row fills, multicolumns counted with their width."""
    cells = re.split(r"(?<!\\)&", line)
    spans = [re.match(r"\s*\\multicolumn\{(\d+)\}", cell) for cell in cells]
    return sum(int(span.group(1)) if span else 1 for span in spans)


def test_latex_rows_fill_all_columns(table):
    rows = [line for line in render.latex(table).splitlines() if line.endswith("\\\\")]
    assert {columns_of(row) for row in rows} == {4}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(table, tmp_path):
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n%s\\end{document}\n"
    (tmp_path / "t.tex").write_text(document % render.latex(table), encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
