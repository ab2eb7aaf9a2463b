"""Every table in a real two-column article: it compiles, and nothing is wider than the page or its column."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace

import polars as pl
import pytest

from oodgrid.report import latex, letters, tables, widths
from tests.report import certain, conftest

SLACK = 0.1  # pt by which a box may be too wide
COMPILER = shutil.which("pdflatex")
needs_latex = pytest.mark.skipif(
    COMPILER is None, reason="pdflatex is missing: apt install texlive-latex-recommended texlive-latex-extra"
)
LONG = "a_very_long_name-of_a_method_that_somebody_has_written_01234"
METHODS = [
    *conftest.METHODS,
    *(f"my_method_{i}" for i in range(10)),
    LONG,
    r"strange_&_%_#_$_~_^_\_{x}",
    "метод_漢字_αβ_éüß",
]
SETS = {
    "near": [f"semantic-shift-{'x' * 45}", "near_2", "µ-é"],
    "far": ["textures", "places365", "sun", "openimage-o"],
    "covariate": ["blurred_3"],
}
STUDIES = {
    "three methods": {"methods": conftest.METHODS[:2], "scores": ("mcm",), "features": ("knn",)},
    "seven methods": {"skip": conftest.no_tower},
    "twenty methods": {"methods": METHODS, "shots": (1, 16), "seeds": (1, 2), "sets": SETS},
    "one column of numbers": {"methods": ("zero_shot",), "sets": {"covariate": ["b"]}},
}


@pytest.mark.parametrize(
    "header",
    ["FPR95 (ID pos.) ↓", "FPR95 (OOD pos.) ↓", "AUROC ↑", "ID acc. ↑", "x" * 30, "a-b-c-d-e-f-g-h-i-j-k", "set 1†"],
)
def test_a_header_takes_three_lines_at_most_and_loses_no_letter(header):
    for limit in (*latex.LETTERS, 2):
        lines = widths.wrapped(header, limit)
        assert len(lines) <= 3
        assert re.sub(r"[\s-]", "", "".join(lines)) == re.sub(r"[\s-]", "", header)
        assert "(" not in header or lines[-1] not in widths.ARROWS


def compiled(folder, body, preamble=""):
    """Compile a two-column article and return its log."""
    document = f"\\documentclass[twocolumn]{{article}}\\usepackage{{booktabs,tabularx}}{preamble}\\begin{{document}}\n"
    (folder / "paper.tex").write_text(document + body + "\\end{document}\n", encoding="utf-8")
    command = [COMPILER, "-halt-on-error", "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-2000:]
    return log


def too_large(log):
    """Return what does not fit: boxes wider than theirs, and tables higher than a page."""
    wide = [float(width) for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    return [width for width in wide if width > SLACK] + re.findall(r"Float too large[^\n]*", log)


@needs_latex
@pytest.mark.parametrize(("study", "spread"), [*((study, "interval") for study in STUDIES), ("seven methods", "sd")])
def test_every_table_fits_a_two_column_article(study, spread, metrics_of, tmp_path):
    evaluated = certain.evaluated_of(metrics_of(**STUDIES[study]), {("concepts", "textures")}, tied=0.02)
    tables.write_tables(evaluated, tmp_path, "made-up", spread)
    files = sorted(tmp_path.rglob("*.tex"))
    assert {file.stem for file in files} == {"main", "main-column", "scores", "sets"}
    texts = [f"Some text. \\input{{{file.relative_to(tmp_path)}}}\n\n" for file in files]
    assert not too_large(compiled(tmp_path, "".join(texts)))
    assert "\\resizebox" not in "".join(file.read_text(encoding="utf-8") for file in files)


@needs_latex
def test_a_table_within_a_table_of_the_reader_makes_no_float_of_its_own(metrics_of, tmp_path):
    shown = certain.evaluated_of(metrics_of(methods=conftest.METHODS[:3])).pair("tiny", "concepts")
    texts = {"table*": latex.latex(tables.main(shown)), "table": latex.latex(tables.main(shown), latex.COLUMN)}
    body = "".join(f"\\begin{{{name}}}\\caption{{Mine.}}\n{text}\\end{{{name}}}\n" for name, text in texts.items())
    assert not too_large(compiled(tmp_path, body))


@needs_latex
def test_a_box_that_is_too_wide_is_seen(tmp_path):
    assert too_large(compiled(tmp_path, "\\noindent\\rule{1.01\\columnwidth}{1pt}\n"))


def test_main_has_at_most_six_columns_of_numbers_and_stays_one_float(metrics_of):
    shown = certain.evaluated_of(metrics_of(sets={"near": ["a", "b"], "far": ["c", "d", "e"]})).pair("tiny", "concepts")
    table = tables.main(shown)
    assert len(table.columns) <= 6
    text = latex.latex(table)
    assert text.count("\\begin{table*}") == 1
    assert "[" in text.split("\\midrule")[1]  # intervals in full


def test_blocks_of_a_long_table_hold_every_row_once_in_order(metrics_of):
    shown = certain.evaluated_of(metrics_of(methods=METHODS, shots=(4,), seeds=(1,))).pair("tiny", "concepts")
    table = tables.scores(shown)
    text = latex.latex(table)
    assert text.count("\\begin{table*}") > 2
    body = [line for line in text.splitlines() if line.endswith("\\\\") and re.search(r"\d\d\.\d", line)]
    scores = [re.split(r"(?<!\\) & ", line)[1] for line in body]
    assert scores == [table.legend.scores[score] for score in table.frame["score"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 50% #1", r"a\_b \& 50\% \#1"),
        ("{x}$y^2~", r"\{x\}\$y\textasciicircum{}2\textasciitilde{}"),
        ("C:\\temp", r"C:\textbackslash{}temp"),
        ("k ≤ 5 × 3", r"k $\leq$ 5 $\times$ 3"),
        ("two\nlines", "two lines"),
        ("é ï ß ł", r"\'{e} \"{\i} \ss{} \l{}"),
        ("β", r"\oodletter{03B2}{\ensuremath{\beta}}\allowbreak{}"),
        ("Ж", r"\oodletter{0416}{Zh}\allowbreak{}"),
        ("щ", r"\oodletter{0449}{shch}\allowbreak{}"),
        ("ق", r"\oodletter{0642}{q}\allowbreak{}"),
        ("漢", r"\oodletter{6F22}{U+6F22}\allowbreak{}"),
    ],
)
def test_escape_latex(text, expected):
    assert letters.escape_latex(text) == expected


@needs_latex
def test_any_letters_compile_and_fit(tmp_path):
    """Names of letters drawn from all of Unicode, in lines no wider than a column."""
    draw = random.Random(7)
    planes = [(0x20, 0x7F), (0xA0, 0x250), (0x370, 0x530), (0x590, 0x700), (0x2000, 0x2300), (0x4E00, 0x9FFF),
              (0x1F300, 0x1F700), (0xAC00, 0xD7A0)]  # fmt: skip
    names = []
    for length in range(1, 61):
        signs = [chr(draw.randrange(*draw.choice(planes))) for _ in range(length)]
        names.append("".join(sign for sign in signs if unicodedata.category(sign) != "Cn"))
    lines = "".join(f"\\par {letters.escape_latex(name, 8)} x\n" for name in names)
    body = f"{letters.DEFINED}\\parbox{{150pt}}{{\\footnotesize\\raggedright {lines}}}\n"
    assert not too_large(compiled(tmp_path, body))


def test_every_remark_stands_under_every_table_it_concerns(metrics_of, tmp_path):
    skip = lambda method, shots, seed, *_: method == "coop" and seed == 2 and "it diverged"  # noqa: E731
    metrics = metrics_of(methods=("zero_shot", "coop"), shots=(1,), seeds=(1, 2), skip=skip)
    metrics = metrics.with_columns(reason=pl.when(pl.col("status") == "ok").then(pl.lit("limit 9")).otherwise("reason"))
    tables.write_tables(certain.evaluated_of(metrics, tied=0.3), tmp_path, "made-up")
    for file in tmp_path.rglob("*.tex"):
        text = file.read_text(encoding="utf-8")
        for remark in ("limit 9", "Many ties", "it diverged", "Bold: the best set", "Intervals"):
            assert remark in text, (file.name, remark)


@pytest.mark.parametrize(("sets", "spread", "expected"), [
    (2, "interval", "Intervals: 95 %"), (7, "interval", "their ends above and below"),
    (10, "interval", "95 % intervals are left out for want of room"), (3, "sd", "one standard deviation over seeds"),
    (10, "sd", "Deviations over seeds are left out for want of room"),
])  # fmt: skip
def test_what_stands_beside_a_mean_is_what_the_notes_say(metrics_of, sets, spread, expected):
    metrics = metrics_of(methods=("zero_shot", "coop"), shots=(1,), sets={"far": [f"set-{n}" for n in range(sets)]})
    table = replace(tables.sets(certain.evaluated_of(metrics).pair("tiny", "concepts")), spread=spread)
    assert letters.escape_latex(expected) in latex.latex(table)


@pytest.mark.parametrize("layout", [latex.TEXT, latex.COLUMN])
def test_long_names_are_cut_apart_and_stand_whole_in_a_note(metrics_of, layout):
    names = [f"the_same_name_of_sixty_letters_that_ends_differently_{end}" for end in ("variant_A", "variant_B")]
    metrics = metrics_of(methods=("zero_shot", *names), shots=(1,), seeds=(1,), scores=("mcm",), features=())
    text = latex.latex(tables.main(certain.evaluated_of(metrics).pair("tiny", "concepts")), layout)
    body, notes = text.split("\\bottomrule")
    cut = re.findall(r"^(the\S*) &", body, re.M)
    assert len(set(cut)) == 2 and all("ldots" in name for name in cut)
    assert all(letters.escape_latex(name) in notes for name in names)


def test_pages_of_a_table_are_filled_evenly_and_say_that_it_goes_on(metrics_of):
    metrics = metrics_of(methods=METHODS[:9], shots=(4,), seeds=(1,))
    text = latex.latex(tables.scores(certain.evaluated_of(metrics).pair("tiny", "concepts")))
    floats = text.split("\\begin{table*}")[1:]
    rows = [len(re.findall(r" & .*\\\\$", each, re.M)) for each in floats]
    assert len(rows) > 1 and min(rows) > max(rows) / 3
    assert ["Goes on in the next table" in each for each in floats] == [True] * (len(floats) - 1) + [False]


def test_letters_that_pdftex_lacks_are_said_with_what_they_need(metrics_of):
    metrics = metrics_of(methods=("zero_shot", "метод"), shots=(1,), seeds=(1,))
    text = latex.latex(tables.main(certain.evaluated_of(metrics).pair("tiny", "concepts")))
    assert "% with a font that has them" in text
    assert "\\providecommand{\\oodletter}" in text
    assert "oodletter" not in latex.latex(
        tables.main(certain.evaluated_of(metrics_of(methods=("zero_shot",))).pair("tiny", "concepts"))
    )


def test_no_number_is_broken_at_its_point():
    broken = letters.escape_latex("(epochs=25,lr=0.0005)", 8).split(r"\allowbreak{}")
    assert broken == ["(epochs=", "25,", "lr=", "0.0005)"]
