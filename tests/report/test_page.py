from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser

import pytest

from oodgrid.errors import OodgridError
from oodgrid.report import figures, page

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
    page.write_page(metrics, out.parent, out.name, {("concepts", "g")})
    return out, metrics


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
    sources = re.findall(r'src="([^"]{0,40})', text)
    assert len(sources) == len(page.CAPTIONS)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
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
    for words in ("FPR95 (ID pos.)", "FPR95 (OOD pos.)", "g†", "Methods under the MCM score", "What gave no number"):
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
    out, metrics = written
    page.write_page(metrics, out.parent, out.name, {("concepts", "g")})
    assert (out / "report.html").read_text(encoding="utf-8") == text


def test_a_page_without_figures_is_refused(metrics, tmp_path):
    with pytest.raises(OodgridError, match=r"forest\.svg is missing: the figures must be drawn"):
        page.write_page(metrics, tmp_path, "demo", set())
    assert not (tmp_path / "demo/report.html").exists()
