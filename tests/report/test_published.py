"""The table and the part of the page that show results beside published numbers: apart, and only where they match."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from oodgrid import paths
from oodgrid.published import Comparison, catalogued
from oodgrid.published.comparison import Reason
from oodgrid.published.ours import Row
from oodgrid.report import page, published, tables
from tests.report import certain
from tests.report.test_latex import compiled, needs_latex, too_large

ROW = Row("tiny", "concepts", "zero_shot", "zero_shot", 0, "mcm", "mcm")
SUFFIXES = ("csv", "html", "md", "tex")


def beside(row=ROW, sources=("mcm", "setar-gl-mcm", "openood-vlm-msp", "gallop")):
    """Every value of some sources, ours a little off, with an interval for every other."""
    values = [value for value in catalogued() if value.source in sources]
    return [
        Comparison(value, row, tuple(value.oods), ours=(ours := min(1.0, value.number + (i - 9) / 2000)),
                   **({} if i % 2 else {"lo": ours - 0.01, "hi": ours + 0.01}), unchecked=("size",) * (i % 3))
        for i, value in enumerate(values)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def metrics(metrics_of):
    return metrics_of(methods=("zero_shot", "coop"), scores=("mcm", "msp"), shots=(16,), seeds=(1,), features=())


def test_matches_are_listed_in_four_forms_beside_the_other_tables_and_go_when_they_end(metrics, tmp_path):
    folder = paths.report(tmp_path, "e", "tables") / "tiny" / "concepts"
    files = published.write(beside(), metrics, tmp_path, "e")
    assert sorted(file.name for file in files) == [f"published.{suffix}" for suffix in SUFFIXES]
    assert sorted(folder.iterdir()) == sorted(files)
    assert published.write(beside(ROW._replace(id_dataset="other")), metrics, tmp_path, "e") == []
    assert list(folder.iterdir()) == []


def test_it_shows_ours_theirs_their_difference_and_whence_but_marks_no_best(metrics):
    shown = beside()
    table = published.of_pair(shown, metrics, "tiny", "concepts")
    text = published.render.markdown(table)
    first = shown[0]
    ours, lo, hi = (100 * number for number in (first.ours, first.lo, first.hi))
    line = f"| {ours:.2f} [{lo:.2f}, {hi:.2f}] | 94.61 | {100 * first.difference:+.2f} | 0.30 |"
    assert f"| MCM | Zero-shot | 0 | MCM | inaturalist | AUROC | differs {line}" in text
    assert "**" not in text.split("\n\n")[1]
    for each in shown:
        assert each.value.about.tolerance.why in text.replace("\\", "")
    assert "not compared: size" in text
    rows = pl.read_csv(published.render.csv(table).encode())
    assert len(rows) == len(shown)
    assert rows["theirs_percent"][0] == pytest.approx(94.61)


def test_what_does_not_compare_is_not_shown(metrics, monkeypatch):
    refused = replace(beside()[0], reasons=(Reason("n_id", "ours 4, theirs 5"),))
    monkeypatch.setattr(published, "compared", lambda values, ours: [refused])
    assert published.matching(None) == []
    assert published.of_pair([], metrics, "tiny", "concepts") is None


def test_no_other_table_takes_published_numbers(metrics):
    assert "published" not in tables.of_pair(certain.evaluated_of(metrics).pair("tiny", "concepts"))


def test_the_page_has_a_part_of_its_own_for_them_where_there_are_any(metrics, curves_of, tmp_path):
    folder = paths.report(tmp_path, "e", "figures") / "tiny" / "concepts"
    folder.mkdir(parents=True)
    for name in page.CAPTIONS:  # figures take seconds to draw, and have no part in this
        (folder / f"{name}.svg").write_text("<svg/>")
    texts = []
    for matches in ((), beside()):
        page.write_page(certain.evaluated_of(metrics), curves_of(metrics), tmp_path, "e", beside=matches)
        texts.append(paths.report(tmp_path, "e", "page").read_text(encoding="utf-8"))
    without, with_them = texts
    heading = "<h3>Beside published numbers, in no ranking</h3>"
    assert heading not in without
    assert with_them.count(heading) == 1
    part = with_them.split(heading)[1].split("</details>")[0]
    assert "94.61" in part
    assert with_them.replace(heading + part, "").count("94.61") == 0


@needs_latex
def test_the_table_fits_a_two_column_article(metrics, tmp_path):
    table = published.of_pair(beside(), metrics, "tiny", "concepts")
    assert not too_large(compiled(tmp_path, published.latex.latex(table, label="tab:x")))
