"""The page in a real browser: Debian's chromium without a window, driven by playwright."""

from __future__ import annotations

import csv
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from oodgrid.report import explorer, page
from tests.report import certain, studies

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = {
    "</script><script>window.pwned=1</script>": "near",
    "<img src=x onerror=window.pwned=1>": "far",
    "\"'><b onmouseover=window.pwned=1>": "far",
    "=HYPERLINK(\"x\";\"y\")": "near",
    "été, 深层 \u202e&amp;": "covariate",
    "__proto__": "far",
    "constructor": "near",
}  # fmt: skip
METHODS = ["zero_shot", "tip_adapter_f", "<img src=x onerror=window.pwned=1>", "coop@epochs=25,lr=0.0005", "toString"]
SCORES = ["mcm", "max_logit", "</style><script>window.pwned=1</script>"]
FITS = [(shots, seed) for shots in (1, 16) for seed in (1, 2)]
SHOWN = {"auroc": "AUROC ↑", "fpr95_id_pos": "FPR95 (ID pos.) ↓"}
WAIT = 60_000  # ms: machines of CI are busy


@pytest.fixture(scope="session")
def chromium():
    """A browser, for all tests of a worker."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        pytest.skip("no browser: install Debian's package chromium")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()


def written(folder: Path, metrics: pl.DataFrame, experiment="made-up", **given) -> Path:
    """Write a page and return it."""
    for backbone, id_dataset in metrics.select("backbone", "id_dataset").unique().rows():
        for name in page.CAPTIONS:
            figure = folder / experiment / "figures" / backbone / id_dataset / f"{name}.svg"
            figure.parent.mkdir(parents=True, exist_ok=True)
            figure.write_text("<svg xmlns='http://www.w3.org/2000/svg' width='300' height='80'/>")
    evaluated = certain.evaluated_of(metrics, {("concepts", "__proto__")})
    told = pl.col("metric") != "fpr95_ood_pos"  # as where a rate jumps with its threshold
    empty = [pl.when(told).then(name).alias(name) for name in certain.UNTOLD]
    evaluated = replace(evaluated, comparisons=evaluated.comparisons.with_columns(empty))
    page.write_page(evaluated, studies.curves_of(metrics), folder, experiment, **given)
    return folder / experiment / "report.html"


@pytest.fixture(scope="module")
def metrics():
    """Of 420 rows, with names that try to become markup, code or formulas; one combination was skipped."""
    rows = studies.metrics_of(METHODS, SCORES, HOSTILE, FITS)
    skipped = (pl.col("method") == "toString") & (pl.col("score") == "max_logit")
    numbers = [name for name, dtype in rows.schema.items() if dtype.is_float()]
    nothing = {name: pl.when(~skipped).then(name) for name in numbers}
    status = pl.when(skipped).then(pl.lit("skipped")).otherwise("status")
    reason = pl.when(skipped).then(pl.lit("<img src=x onerror=window.pwned=1>")).otherwise("reason")
    return rows.with_columns(**nothing, status=status, reason=reason)


@pytest.fixture(scope="module")
def report(metrics, tmp_path_factory):
    """A page of every kind of view."""
    return written(tmp_path_factory.mktemp("page"), metrics, pictures=pictures)


def pictures(dataset, paths):
    """Return a JPEG file for each sample but those called x.jpg, of which there is no image at hand."""
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "JPEG")
    return {path: buffer.getvalue() for path in paths if path != "x.jpg"}


@pytest.fixture
def open_page(chromium):
    """A function that opens a page; after the test, nothing was asked of a network and no error was said."""
    contexts, said, requests = [], [], []

    def opened(file, view=None, **options):
        contexts.append(chromium.new_context(**{"viewport": {"width": 1200, "height": 900}, **options}))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(WAIT)
        tab.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(file.as_uri())
        if options.get("java_script_enabled", True):
            tab.wait_for_selector("table.rows tbody tr")
        if view:
            tab.check(f"input[value={view}]")
            until(tab, "view => state.view.id === view", view)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert all(url.startswith(("file:///", "data:image/", "blob:")) for url in requests)
    assert all(url.endswith("report.html") for url in requests if url.startswith("file:"))


def until(tab, script, argument=None):
    """Wait until a script is true: playwright's own waiting evaluates text, which the page forbids."""
    for _ in range(WAIT // 50):
        if tab.evaluate(script, argument):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never true: {script}")


def column(tab, header):
    """Return what the table shows under a header, without intervals."""
    titles = tab.locator("table.rows thead th button").evaluate_all("nodes => nodes.map(node => node.firstChild.data)")
    script = "(nodes, at) => nodes.map(node => node.cells[at].firstChild.textContent)"
    return tab.locator("table.rows tbody tr").evaluate_all(script, titles.index(header))


def counted(tab):
    return int(re.search(r"of ([\d,]+)", tab.inner_text("[data-role=count]"))[1].replace(",", ""))


def tick(tab, facet, *values):
    tab.click(f"[data-facet={facet}] summary")
    for value in values:
        tab.locator(f"[data-facet={facet}] label").get_by_text(value, exact=True).check()
    tab.keyboard.press("Escape")


def printed(values):
    return [f"{100 * value:.2f}" for value in values]


def test_every_number_of_the_parquet_file_is_in_the_page(open_page, report, metrics):
    tab = open_page(report, "rows")
    values = "Array.from({length: state.table.rows}, (_, row) => column.raw(row))"
    kept = dict(tab.evaluate(f"() => [...state.table.columns.values()].map(column => [column.name, {values}])"))
    assert kept.pop("overlap") == [name == "__proto__" for name in metrics["ood_dataset"]]
    assert set(kept) == set(metrics.columns)
    for name, values in kept.items():
        wanted = metrics[name].to_list()
        if metrics.schema[name].is_float():
            assert values == [None if value is None else pytest.approx(value, abs=0.5001e-4) for value in wanted]
        else:
            assert values == wanted


@pytest.mark.parametrize("metric", SHOWN)
def test_headers_sort_by_mouse_and_by_keyboard_with_what_has_no_number_last(open_page, report, metrics, metric):
    tab = open_page(report, "rows")
    header = tab.locator("table.rows thead button").get_by_text(SHOWN[metric])
    header.click()
    better = metric == "auroc"
    ordered = metrics[metric].drop_nulls().sort(descending=better)
    assert list(map(float, column(tab, SHOWN[metric]))) == pytest.approx([100 * v for v in ordered[:50]], abs=0.0051)
    said = tab.get_attribute(f"table.rows th:has-text('{SHOWN[metric]}')", "aria-sort")
    assert said == ("descending" if better else "ascending")
    tab.keyboard.press("Enter")  # the header has kept the focus
    worst = ordered.reverse()[:50]
    assert list(map(float, column(tab, SHOWN[metric]))) == pytest.approx([100 * v for v in worst], abs=0.0051)
    tab.evaluate("() => { state.page = 8; drawTable(); }")
    assert column(tab, SHOWN[metric])[-1] == "–"
    tab.keyboard.press("Space")
    assert tab.locator("table.rows th[aria-sort=descending], table.rows th[aria-sort=ascending]").count() == 0


def test_filters_leave_the_rows_that_polars_finds_and_the_chart_follows(open_page, report, metrics):
    tab = open_page(report, "rows")
    assert counted(tab) == len(metrics)
    tick(tab, "method", "Zero-shot", "Tip-Adapter-F")
    wanted = metrics.filter(pl.col("method").is_in(["zero_shot", "tip_adapter_f"]))
    assert counted(tab) == len(wanted)
    labels = "[data-role=chart] [aria-label='y-axis tick label'] text"
    assert set(tab.locator(labels).all_text_contents()) <= {"Zero-shot", "Tip-Adapter-F"}
    tick(tab, "shots", "16")
    wanted = wanted.filter(pl.col("shots") == 16)
    assert counted(tab) == len(wanted)
    tab.fill("[data-role=low]", "70")
    tab.fill("[data-role=high]", "90")
    wanted = wanted.filter(pl.col("auroc").round(4).is_between(0.7, 0.9))
    until(tab, "count => state.rows.length === count", len(wanted))
    tab.fill("[data-role=search]", "maxlogit 深层")
    wanted = wanted.filter(pl.col("score") == "max_logit", pl.col("ood_dataset").str.contains("深层"))
    until(tab, "count => state.rows.length === count", len(wanted))
    assert len(tab.locator("[data-role=chart] [aria-label=dot] > *").all()) <= len(wanted)
    tab.fill("[data-role=search]", "no such thing")
    tab.get_by_text("No row passes the filter.").wait_for()
    tab.click("[data-role=reset]")
    until(tab, "count => state.rows.length === count", len(metrics))


def test_the_rows_shown_are_downloaded_as_inert_csv(open_page, report, metrics):
    tab = open_page(report, "rows")
    tick(tab, "ood_dataset", '=HYPERLINK("x";"y")')
    with tab.expect_download() as download:
        tab.click("[data-role=save]")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    wanted = metrics.filter(pl.col("ood_dataset").str.starts_with("=")).rows(named=True)
    assert list(rows[0]) == tab.evaluate("() => [...state.table.columns.keys()]")
    assert {row["ood_dataset"] for row in rows} == {'\'=HYPERLINK("x";"y")'}
    assert [row["auroc"] for row in rows] == ["" if r["auroc"] is None else f"{round(r['auroc'], 4):g}" for r in wanted]


def test_a_chosen_row_shows_its_curves_and_where_it_stands(open_page, report):
    tab = open_page(report, "rows")
    tab.locator("table.rows tbody th button").first.focus()
    tab.keyboard.press("Enter")
    picked = tab.locator("[data-role=picked]")
    picked.locator("figure svg").first.wait_for()
    assert picked.locator("figure").count() == 2  # a ROC curve and a histogram
    text = picked.inner_text()
    for words in ("metrics.parquet, from scores/tiny/concepts/zero_shot.parquet", "16 shots, seed 1", "95 %:", "AUROC"):
        assert words in text
    samples = picked.locator(".mistakes li")
    assert samples.all_inner_texts() == [f"</script>/{row}.jpg ({np.float32(row / 7):.6g})" for row in range(4)] + [
        "x.jpg (1)"
    ]
    assert samples.locator("img").evaluate_all("nodes => nodes.map(node => node.naturalWidth)") == [30] * 4
    assert tab.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    for place in (1, 2, 3, 4):
        tab.locator("table.rows tbody tr").nth(place).click()
    until(tab, "document.querySelectorAll('[data-role=picked] section').length === 4")
    assert tab.locator("table.rows tr.chosen").count() == 4
    assert tab.locator("table.rows tbody tr").first.get_attribute("class") is None  # the first chosen made room
    picked.get_by_text("Clear").click()
    assert picked.inner_text() == "" and tab.locator("tr.chosen").count() == 0


def test_the_whole_page_works_by_keyboard_alone(open_page, report):
    tab = open_page(report, "rows")
    reached = set()
    tab.evaluate("document.body.focus()")
    for _ in range(60):
        tab.keyboard.press("Tab")
        within = "document.activeElement.closest('[data-facet], thead, tbody')?.tagName"
        reached.add(tab.evaluate(f"document.activeElement.dataset?.role || {within}"))
    roles = {"search", "metric", "low", "high", "reset", "group", "colour", "after", "save", "table"}
    assert roles | {"DETAILS", "THEAD", "TBODY"} <= reached


def test_means_and_differences_have_their_intervals(open_page, report, metrics):
    tab = open_page(report)
    summary = certain.summary_of(metrics, {("concepts", "__proto__")})
    shown = summary.filter(pl.col("metric") == "auroc", pl.col("scope") == "overall", "largest").drop_nulls("mean")
    best = shown.sort("mean", descending=True)
    assert column(tab, "Mean")[: len(best)] == printed(best["mean"])[:50]
    interval = tab.locator("table.rows td small").first.inner_text().strip()
    assert interval == f"{100 * best['lo'][0]:.2f} to {100 * best['hi'][0]:.2f}"
    close = shown.filter(best["mean"][0] - pl.col("mean") <= certain.HALF)
    assert tab.locator("table.rows td.best").count() == len(close)
    tab.check("input[value=differences]")
    tab.get_by_text("difference in AUROC").wait_for()
    assert "Compared with: zero-shot + MCM" in tab.inner_text("table.rows caption")
    assert all(re.fullmatch(r"[+−]\d+\.\d\d|–", text) for text in column(tab, "Difference"))
    tab.select_option("[data-role=metric]", "fpr95_id_pos")
    smallest = [float(text.replace("−", "-")) for text in column(tab, "Difference") if text != "–"]
    assert smallest == sorted(smallest)  # less is better
    assert set(column(tab, "Corrected p")) != {"–"}
    assert tab.locator("table.rows td small").count()
    tab.select_option("[data-role=metric]", "fpr95_ood_pos")  # jumps: differences alone
    until(tab, "() => state.metric === 'fpr95_ood_pos'")
    assert set(column(tab, "Corrected p")) == {"–"}
    assert set(column(tab, "Difference")) != {"–"}
    assert tab.locator("table.rows td small").count() == 0


def test_names_are_never_markup(open_page, report):
    tab = open_page(report, "rows")
    tab.evaluate("() => { for (let row = 0; row < 4; row++) onChoose(row * 70 + 1); }")
    until(tab, "document.querySelectorAll('[data-role=picked] figure').length > 1")
    for name in ("rows", "means", "differences"):
        tab.check(f"input[value={name}]")
    assert tab.evaluate("window.pwned") is None
    shown = tab.inner_text("body")
    for name in (METHODS[2], SCORES[2], *HOSTILE, "toString"):
        assert name in tab.text_content("main"), name
    assert "native code" not in shown and "[object" not in shown
    assert tab.locator("main img:not([src^='data:'])").count() == 0
    assert tab.locator("#summary table").count() == 1 and tab.locator("#summary a[href^=javascript]").count() == 0


def test_on_a_narrow_screen_every_number_is_reached_and_names_stay_in_sight(open_page, report):
    tab = open_page(report, "rows", viewport={"width": 420, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") == 420
    region = "document.querySelector('[data-role=table]')"
    tab.evaluate(f"{region}.scrollTo(1e6, 400)")
    inside = ["", *map(".querySelectorAll('{}')".format, ("thead th:last-child", "tbody th", "thead th"))]
    inside = [f"{part}[{at}]" if part else part for part, at in zip(inside, (0, 0, 20, 0), strict=True)]
    box, last, name, head = (
        tab.evaluate(f"(({{left, right, top}}) => [left, right, top])({region}{part}.getBoundingClientRect())")
        for part in inside
    )
    assert last[1] <= box[1] + 1 and name[0] == pytest.approx(box[0], abs=1) and head[2] == pytest.approx(box[2], abs=1)
    assert name[1] - name[0] < 210  # at least half is left to numbers
    tab.locator("table.rows tbody th button").nth(20).click()
    tab.locator("[data-role=picked] dl").wait_for()
    numbers = tab.evaluate("state.view.numbers.length")
    assert len(re.findall(r"^(\d+\.\d\d|–)", tab.inner_text("[data-role=picked] dl"), re.M)) == numbers
    assert tab.evaluate("document.documentElement.scrollWidth") == 420
    for facet in tab.locator("details.facet summary").all():
        facet.click()
        assert tab.evaluate("document.documentElement.scrollWidth") == 420


CONTRASTS = """selector => {
  const linear = part => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const parts = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(part => linear(part / 255));
  const luminance = colour => parts(colour).reduce((sum, part, at) => sum + part * [.2126, .7152, .0722][at], .05);
  const clear = 'rgba(0, 0, 0, 0)', colours = node => getComputedStyle(node);
  const under = node => colours(node).backgroundColor === clear && node.parentElement ? under(node.parentElement)
    : colours(node).backgroundColor;
  return [...document.querySelectorAll(selector)].map(node => {
    const pair = [luminance(colours(node).color), luminance(under(node))];
    return Math.max(...pair) / Math.min(...pair);
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_page_in_both_schemes(open_page, report, scheme):
    tab = open_page(report, color_scheme=scheme)
    tab.locator("table.rows tbody tr").first.click()
    tab.locator("[data-role=picked] figure").first.wait_for()
    parts = "p, a, button, summary, th, td, small, caption, figcaption, dt, dd, label, select, input"
    assert min(tab.evaluate(CONTRASTS, f":is({parts}):not(:disabled):not(.best *)")) > 4.5
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_it_prints_without_scroll_bars_and_loses_no_column(open_page, report):
    tab = open_page(
        report, "rows", color_scheme="dark", viewport={"width": 1032, "height": 700}
    )  # A4 landscape less margins
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate(
        "[...document.querySelectorAll('.scroll')].every(node => getComputedStyle(node).overflow === 'visible')"
    )
    assert (
        tab.evaluate(
            "Math.max(...[...document.querySelectorAll('table')].map(node => node.getBoundingClientRect().right))"
        )
        <= 1033
    )
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1033
    tab.evaluate("document.querySelectorAll('details[open]').forEach(node => { node.open = false; })")
    tall = "[...document.querySelectorAll('main details:not(.facet)')].map(node => node.offsetHeight > 60)"
    assert all(tab.evaluate(tall))
    tab.emulate_media(media="screen")
    assert not any(tab.evaluate(tall))
    assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF-")


LINES = """() => Math.max(...[...document.querySelectorAll('thead th')].map(cell => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return Math.round(range.getBoundingClientRect().height / parseFloat(getComputedStyle(cell).lineHeight));
}))"""


@pytest.mark.parametrize("width", [1200, 420])
def test_no_header_takes_more_than_three_lines(open_page, report, width):
    assert open_page(report, "rows", viewport={"width": width, "height": 800}).evaluate(LINES) <= 3


def test_tables_have_captions_and_scopes_and_what_scrolls_takes_the_focus(open_page, report):
    tab = open_page(report, "rows")
    assert tab.locator("table:not(:has(caption)):not(#summary table)").count() == 0
    assert tab.locator("main th:not([scope]):not(#summary th)").count() == 0
    assert tab.locator(".scroll:not([tabindex='0'])").count() == 0
    assert tab.locator(":is(select, input):not([aria-label]):not(label *)").count() == 0


def test_what_is_left_out_for_its_size_is_said(metrics, tmp_path, monkeypatch):
    assert "nothing but the finer points of ROC curves" in written(tmp_path, metrics).read_text()
    monkeypatch.setattr(explorer, "MOST_ROWS", 100)
    monkeypatch.setattr(page, "MOST_SHOWN", 5)
    text = written(tmp_path, metrics).read_text()
    summary = certain.evaluated_of(metrics, {("concepts", "__proto__")}).summary
    kept = summary.filter(pl.col("scope") != "set", pl.col("largest"))
    missing = f"{len(summary) - len(kept):,} of {len(summary):,} rows, of single OOD sets and of fewer shots"
    assert (
        text.count(f"Left out for the size of the page: {missing}") == 2
    )  # in the table's caption and in what was run
    assert "summary.parquet has them" in text and "comparisons.parquet has them" in text
    assert "Too long for this page, in the folder of tables: main.html" in text


def test_without_javascript_tables_and_figures_are_there(open_page, report):
    tab = open_page(report, java_script_enabled=False)
    assert tab.locator("#explore").is_hidden() and "need JavaScript" in tab.inner_text("noscript p")
    assert tab.locator("main table").count() >= 2 and tab.locator("main figure img").count() == len(page.CAPTIONS)


@pytest.mark.parametrize(
    "methods, scores, sets, fits, largest",
    [
        (2, 1, 5, 1, 800_000), (10, 10, 5, 10, 1_300_000),
        pytest.param(20, 46, 5, 20, 5_000_000, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_studies_of_any_size_open(open_page, tmp_path, methods, scores, sets, fits, largest):
    names = [
        ["zero_shot", *map("method {}".format, range(methods - 1))],
        ["mcm", *map("score {}".format, range(scores - 1))],
    ]
    metrics = studies.metrics_of(*names, studies.sets_of(sets), [(16, seed) for seed in range(fits)])
    file = written(tmp_path, metrics)
    assert file.stat().st_size < largest
    tab = open_page(file, "rows")
    assert counted(tab) == len(metrics)
    assert len(column(tab, "AUROC ↑")) == min(50, len(metrics))


def test_labels_of_the_chart_that_are_cut_stay_apart(open_page, report):
    lists = [
        f"CoVer (corruptions={'+'.join(['fog-1'] * 9)}+snow-{number}+{'+'.join(['frost-2'] * 9)})"
        for number in range(12)
    ]
    tab = open_page(report)
    cut = tab.evaluate("([labels, letters]) => apartOf(labels, letters)", [["MCM", *lists], 18])
    assert cut[0] == "MCM" and len(set(cut)) == 13 and max(map(len, cut)) <= 18
