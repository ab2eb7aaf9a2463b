"""The page `report.html`: an experiment to explore, in one file that needs nothing beside it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
from markdown_it import MarkdownIt
from markupsafe import Markup

from oodgrid import paths
from oodgrid.errors import OodgridError
from oodgrid.progress import progress
from oodgrid.report import explorer, mistakes, packed, render, select, tables
from oodgrid.report.names import Legend
from oodgrid.store import atomic

CAPTIONS = {  # ROC curves and histograms are drawn by the page itself, of the rows that are chosen
    "forest": "By how much, how surely? Every method at its best score, with 95 % intervals; the thick part is one "
    "standard deviation over seeds to either side.",
    "scores": "Which score for which method? Mean AUROC of every method, at its largest number of shots, with every "
    "score, on one scale.",
    "shots": "Do shots help? Mean AUROC over shots with 95 % intervals, the other methods in grey.",
    "accuracy": "What does it cost? AUROC against ID accuracy, every method at its best score, with 95 % intervals.",
    "sets": "Where does it fail? FPR95 (ID pos.) of every OOD set, the hardest first.",
}
LIBRARIES = ("d3.min.js", "plot.umd.min.js")
SCRIPTS = ("packed.js", "rows.js", "charts.js", "table.js", "picked.js", "explore.js")
MOST_OPEN = 60  # rows of a table that is not folded


def write_page(
    metrics: pl.DataFrame,
    results: Path,
    experiment: str,
    overlaps: set[tuple[str, str]],
    broken_images: Sequence[tuple[str, str, int]] = (),
    transductive: Sequence[str] = (),
    curves: pl.DataFrame | None = None,
    summary: pl.DataFrame | None = None,
    comparisons: pl.DataFrame | None = None,
    answer: str | None = None,
    pictures: mistakes.Pictures = lambda dataset, paths: {},
) -> None:
    """Write the page from the metrics and the figures that `figures.write_figures` left.

    Args:
        metrics: The rows of metrics.parquet.
        results: The results folder.
        experiment: Name.
        overlaps: The (id_dataset, ood_dataset) pairs whose classes overlap.
        broken_images: Backbone, dataset and number of images that could not be decoded and were left out.
        transductive: The scores whose values depend on other samples: they have a table of their own.
        curves: The rows of curves.parquet: ROC curves and histograms to show on demand.
        summary: The rows of summary.parquet: means with their intervals.
        comparisons: The rows of comparisons.parquet: differences with their intervals.
        answer: What the page opens with, as Markdown.
        pictures: Makes small pictures of samples, where their images are at hand.

    Raises:
        OodgridError: A figure is missing.
    """
    sections = [
        _section(
            select.one_pair(metrics, backbone, id_dataset, overlaps),
            paths.report(results, experiment, "figures") / backbone / id_dataset,
            transductive,
        )
        for backbone, id_dataset in progress(select.pairs(metrics), desc="page", unit="pair")
    ]
    views = explorer.views(metrics, transductive, summary, comparisons, overlaps)
    about = explorer.about(experiment, views, metrics, curves is not None)
    frames = {view.id: view.frame for view in views}
    if curves is not None:
        frames["curves"] = explorer.curves_packed(curves)
        if (samples := mistakes.samples_of(curves)) is not None:
            frames |= {"mistakes": samples, "pictures": mistakes.pictured(samples, pictures)}
    libraries, own = [_text("vendored", name) for name in LIBRARIES], [_text("web", name) for name in SCRIPTS]
    scripts = [*libraries, "".join(own)]
    text = render.page(
        "page.html.j2",
        experiment=experiment,
        answer=answer and Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(answer)),
        facts=_facts(metrics, broken_images),
        conventions=tables.CONVENTIONS,
        sections=sections,
        style=Markup(_text("web", "page.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=" ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts),
        about=Markup(json.dumps(about, ensure_ascii=True).replace("<", r"\u003c").replace("&", r"\u0026")),
        tables={name: packed.pack(frame) for name, frame in frames.items()},
    )
    with atomic(paths.report(results, experiment, "page")) as beside:
        beside.write_text(text, encoding="utf-8")


@cache
def _text(folder: str, name: str) -> str:
    """Return a file of this package that becomes part of the page."""
    text = (resources.files("oodgrid.report") / folder / name).read_text(encoding="utf-8")
    if "</script" in text.lower() or "</style" in text.lower():
        raise ValueError(f"{name} would end the element of the page in which it stands")
    return text


def _section(every: pl.DataFrame, figures: Path, transductive: Sequence[str]) -> dict[str, Any]:
    """Return what the template shows of one pair."""
    backbone, id_dataset = every["backbone"][0], every["id_dataset"][0]
    rows, of_streams = select.without(every, transductive), select.only(every, transductive)
    main, scores = tables.main(rows), tables.scores(rows)
    streams = tables.streams(of_streams) if len(of_streams) else None
    return {
        "anchor": f"{backbone}/{id_dataset}",
        "backbone": backbone,
        "id_dataset": id_dataset,
        "score": main.legend.scores[select.default_score(rows)],
        "main": Markup(render.html(main)),
        "main_caption": main.caption[-2:],
        "scores": Markup(render.html(scores)),
        "scores_open": len(scores.frame) <= MOST_OPEN,
        "streams": streams and Markup(render.html(streams)),
        "streams_caption": streams and streams.caption[:2],
        "figures": [(_data_uri(figures / f"{name}.svg"), caption) for name, caption in CAPTIONS.items()],
        "skipped": tables.skipped(every),
    }


def _data_uri(file: Path) -> str:
    if not file.exists():
        raise OodgridError(f"{file} is missing: the figures must be drawn before the page is written")
    return f"data:image/svg+xml;base64,{b64encode(file.read_bytes()).decode()}"


def _facts(metrics: pl.DataFrame, broken_images: Sequence[tuple[str, str, int]]) -> dict[str, str]:
    """Return what the experiment spans, as words to read."""
    legend = Legend.of(metrics)
    methods = [title for name, title in legend.methods.items() if name != select.ANY]
    trained = metrics.filter(pl.col("shots") > 0)
    left_out = [f"{count} of {dataset} ({backbone})" for backbone, dataset, count in broken_images]
    return {
        "Backbones": ", ".join(select.names(metrics, "backbone")),
        "ID datasets": ", ".join(select.names(metrics, "id_dataset")),
        "Methods": ", ".join(methods),
        "Scores": ", ".join(legend.scores.values()),
        "Shots a class": ", ".join(map(str, sorted(trained["shots"].unique()))) or "none",
        "Seeds": ", ".join(map(str, sorted(trained["seed"].unique()))) or "none",
        **({"Broken images left out": ", ".join(left_out)} if left_out else {}),
    }
