from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from oodgrid import paths
from oodgrid.errors import OodgridError
from oodgrid.report import answer, figures, page
from tests.report import certain

PAIRS = (("tiny", "concepts"), ("tiny", "digits"))
VOID = {"meta", "img", "br", "link", "input"}
SETS = {"near": ["a-near", "b", "c"], "far": ["d", "e", "f", "g"], "covariate": ["h"]}
SKIPPED = "needs the <text> tower & its 100% weights"


@pytest.fixture(scope="module")
def written(metrics_of, curves_of, tmp_path_factory):
    """A page of 8 methods, 7 scores and 8 OOD sets."""
    out = tmp_path_factory.mktemp("out") / "demo <1>"
    metrics = metrics_of(
        methods=(
            "zero_shot",
            "prototype",
            "linear_probe",
            "coop",
            "cocoop",
            "clip_adapter",
            "tip_adapter",
            "tip_adapter_f",
        ),
        sets=SETS,
        shots=(1, 16),
        seeds=(1, 2),
        skip=lambda method, *_: SKIPPED if method == "cocoop" else None,
    )
    figures.write_figures(metrics, curves_of(metrics), out.parent, out.name, {("concepts", "g")})
    whole = certain.evaluated_of(metrics, {("concepts", "g")}), curves_of(metrics)
    page.write_page(*whole, out.parent, out.name)
    return out, whole


@pytest.fixture
def text(written):
    return (written[0] / "report.html").read_text(encoding="utf-8")


class Balance(HTMLParser):
    """Checks that every element that opens also closes, in order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_one_sound_file_of_modest_size(text):
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert len(text) < 3_000_000


def test_page_needs_nothing_beside_it_and_allows_nothing_else(text):
    sources = re.findall(r"src=['\"]([^'\"]{0,40})", text)
    assert len(sources) == len(page.CAPTIONS)
    assert all(source.startswith("data:image/svg+xml,<svg ") for source in sources)
    assert not re.search(r"https?://|<link|@import|url\(", without_code(text))
    policy = unescape(re.search(r"Content-Security-Policy\" content=\"([^\"]+)\"", text)[1])
    assert policy.startswith("default-src 'none'; img-src data:; ")
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    digests = [b64encode(sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-(\S+)'", policy) == digests and len(digests) == 3


def without_code(text):
    return re.sub(r'src="[^"]*"|<script.*?</script>', "", text, flags=re.S)


def test_page_says_what_it_shows(text):
    assert "Experiment demo &lt;1&gt;" in text
    assert "needs the &lt;text&gt; tower &amp; its 100% weights" in text
    assert SKIPPED not in text
    for words in (
        "FPR95 (ID pos.)",
        "FPR95 (OOD pos.)",
        "g†",
        "look at beside the sample",
        "Under MCM",
        "is best overall",
        "What gave no number",
    ):
        assert words in text
    assert not re.search(r"FPR95(?! \((ID|OOD)\spos\.\))", without_code(text))


def test_table_rows_of_the_page_are_equally_wide(text):
    for table in re.findall(r"<table>.*?</table>", text, flags=re.S):
        widths = set()
        for row in re.findall(r"<tr.*?</tr>", table, flags=re.S):
            cells = re.findall(r"<t[hd]([^>]*)>", row)
            spans = [re.search(r'colspan="(\d+)"', cell) for cell in cells]
            widths.add(sum(int(span.group(1)) if span else 1 for span in spans))
        assert len(widths) == 1


def test_the_same_page_again(written, text):
    out, whole = written
    page.write_page(*whole, out.parent, out.name)
    assert (out / "report.html").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("swept", [False, True])
def test_every_figure_is_on_the_page_or_drawn_by_it(metrics, curves, tmp_path, swept):
    asked = ("temperature",) if swept else ("estimate", "grades")
    names = {*paths.FIGURES, *asked}
    for name in names:
        for backbone, id_dataset in metrics.select("backbone", "id_dataset").unique().rows():
            file = tmp_path / "demo/figures" / backbone / id_dataset / f"{name}.svg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"<svg>{name}</svg>")
    page.write_page(certain.evaluated_of(metrics), curves, tmp_path, "demo", asked=asked)
    shown = re.findall(r"src='data:image/svg\+xml,([^']+)", (tmp_path / "demo/report.html").read_text())
    shown = {re.sub("</?svg>", "", unquote(text)) for text in shown}
    assert shown == names - {"roc", "histograms", "forest_scores"}  # curves on demand; tables hold all scores


def test_answers_of_single_pairs_are_folded_where_one_across_them_stands_above(metrics_of, tmp_path):
    folds = []
    for pairs in (PAIRS[:1], PAIRS):
        metrics = metrics_of(methods=("zero_shot", "coop"), scores=("mcm",), pairs=pairs)
        opening = page._opening(answer.answers(certain.evaluated_of(metrics, across=len(pairs) > 1)))
        folds.append([folded for _, folded, _ in opening])
    assert folds == [[False], [False, False, True, True]]


def test_a_page_without_figures_is_refused(metrics, curves, tmp_path):
    with pytest.raises(OodgridError, match=r"forest\.svg is missing: the figures must be drawn"):
        page.write_page(certain.evaluated_of(metrics), curves, tmp_path, "demo")
    assert not (tmp_path / "demo/report.html").exists()
