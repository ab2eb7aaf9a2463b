"""The page `report.html`: an experiment to explore, in one file that needs nothing beside it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import polars as pl
from markdown_it import MarkdownIt
from markupsafe import Markup

from oodgrid import paths
from oodgrid.counts import counted
from oodgrid.errors import OodgridError
from oodgrid.progress import progress
from oodgrid.published import Comparison
from oodgrid.report import answer, explorer, mistakes, packed, published, render, select, tables
from oodgrid.report.evaluated import Evaluated
from oodgrid.report.names import Legend, looked_at
from oodgrid.store import atomic

CAPTIONS = {  # ROC curves and histograms are drawn by the page itself, of the rows that are chosen
    "forest": "By how much, how surely? Every method at its best score, with 95 % intervals; the thick part is one "
    "standard deviation over seeds to either side.",
    "scores": "Which score for which method? Mean AUROC of every method, at its largest number of shots, with every "
    "score, on one scale.",
    "shots": "Do shots help? Mean AUROC over shots with 95 % intervals, the other methods in grey.",
    "accuracy": "What does it cost? AUROC against ID accuracy, every method at its best score, with 95 % intervals.",
    "sets": "Where does it fail? FPR95 (ID pos.) of every OOD set, the hardest first.",
    "geometry": "How did the method move ID and OOD? Angles between and within classes, and how near OOD samples are.",
}
CAPTIONS_IF_ASKED = {
    "temperature": "Which temperature? Mean AUROC over T, which is on cosines (T = .01 is CLIP's softmax of 100 cos); "
    "the default T of each score is marked.",
    "grades": "How does detection change with the shift? AUROC by semantic and by covariate shift of the OOD samples.",
    "estimate": "Could one have known it without OOD labels? AUROC estimated from unlabelled scores, against the true.",
}
LIBRARIES = ("d3.min.js", "plot.umd.min.js")
SCRIPTS = ("packed.js", "rows.js", "charts.js", "table.js", "picked.js", "explore.js")
MOST_OPEN = 60  # rows of a table that is not folded
MOST_SHOWN = 300  # rows of a table that is there at all: the explorable ones hold all numbers


def write_page(
    evaluated: Evaluated,
    curves: pl.DataFrame,
    results: Path,
    experiment: str,
    broken_images: Sequence[tuple[str, str, int]] = (),
    spread: str = "interval",
    pictures: mistakes.Pictures = mistakes.no_pictures,
    asked: Collection[str] = (),
    beside: Sequence[Comparison] = (),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the page from what evaluate leaves and the figures that `figures.write_figures` left.

    Args:
        evaluated: What evaluate leaves: metrics, means with their intervals, differences with theirs.
        curves: The rows of curves.parquet: ROC curves and histograms to show on demand.
        results: The results folder.
        experiment: Name.
        broken_images: Backbone, dataset and number of images that could not be decoded and were left out.
        spread: What stands beside a mean in tables, "interval" or "sd".
        pictures: Makes small pictures of samples, where their images are at hand.
        asked: The figures that the config asks for beside those of every experiment.
        beside: The published values that compare with these results.
        settings: What numbers depend on that no row says, as `settings.facts` words it.

    Raises:
        OodgridError: A figure is missing.
    """
    metrics, figures = evaluated.metrics, paths.report(results, experiment, "figures")
    captions = CAPTIONS | {name: text for name, text in CAPTIONS_IF_ASKED.items() if name in asked}
    sections = [
        _section(evaluated.pair(*pair), figures.joinpath(*pair), captions, spread)
        | {"published": _published(beside, metrics, *pair)}
        for pair in progress(select.pairs(metrics), desc="page", unit="pair")
    ]
    certainty = evaluated.summary, evaluated.comparisons, evaluated.overlaps
    views = explorer.views(metrics, evaluated.transductive, *certainty)
    about = explorer.about(experiment, views, metrics, True)
    frames = {view.id: view.frame for view in views}
    frames["curves"] = explorer.curves_packed(curves)
    if (samples := mistakes.samples_of(curves)) is not None:
        frames |= {"mistakes": samples, "pictures": mistakes.pictured(samples, pictures)}
    libraries, ours = [_text("vendored", name) for name in LIBRARIES], [_text("web", name) for name in SCRIPTS]
    scripts = [*libraries, "".join(ours)]
    text = render.page(
        "page.html.j2",
        experiment=experiment,
        answers=_opening(answer.answers(evaluated)),
        facts=_facts(metrics, broken_images) | dict(settings) | _left_out(views, sections, frames),
        conventions=tables.CONVENTIONS,
        sections=sections,
        style=Markup(_text("web", "page.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=" ".join(f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in scripts),
        about=Markup(json.dumps(about, ensure_ascii=True).replace("<", r"\u003c").replace("&", r"\u0026")),
        tables={name: packed.pack(frame) for name, frame in frames.items()},
    )
    with atomic(paths.report(results, experiment, "page")) as file:
        file.write_text(text, encoding="utf-8")


def _opening(every: Sequence[answer.Answer]) -> list[tuple[str, bool, Markup]]:
    """Return heading, whether it is folded, and HTML of each answer, in which tables scroll on their own."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    scrolling = '<div class="scroll" tabindex="0" role="region" aria-label="Leaderboard"><table>'
    bodies = [markdown.render(answer.body(each)) for each in every]
    bodies = [text.replace("<table>", scrolling).replace("</table>", "</table></div>") for text in bodies]
    return [(each.heading, each.folded, Markup(text)) for each, text in zip(every, bodies, strict=True)]


@cache
def _text(folder: str, name: str) -> str:
    """Return a file of this package that becomes part of the page."""
    text = (resources.files("oodgrid.report") / folder / name).read_text(encoding="utf-8")
    if "</script" in text.lower() or "</style" in text.lower():
        raise ValueError(f"{name} would end the element of the page in which it stands")
    return text


def _section(every: Evaluated, figures: Path, captions: dict[str, str], spread: str) -> dict[str, Any]:
    """Return what the template shows of one pair."""
    rows, shown = every.metrics, tables.of_pair(every)
    return {
        "anchor": f"{rows['backbone'][0]}/{rows['id_dataset'][0]}",
        "backbone": rows["backbone"][0],
        "id_dataset": rows["id_dataset"][0],
        "tables": [
            (table.caption[0], len(table.frame) <= MOST_OPEN, Markup(render.html(replace(table, spread=spread))))
            for table in shown.values()
            if len(table.frame) <= MOST_SHOWN
        ],
        "large": [
            f"{name}.html ({rows['backbone'][0]}, {rows['id_dataset'][0]}: {counted(len(table.frame), 'row')})"
            for name, table in shown.items()
            if len(table.frame) > MOST_SHOWN
        ],
        "figures": [(_data_uri(figures / f"{name}.svg"), caption) for name, caption in captions.items()],
        "skipped": tables.skipped(rows),
    }


def _published(beside: Sequence[Comparison], metrics: pl.DataFrame, backbone: str, id_dataset: str) -> Markup | None:
    """Return the table of a pair beside published numbers, if there is one."""
    table = published.of_pair(beside, metrics, backbone, id_dataset)
    return None if table is None else Markup(render.html(table))


def _left_out(
    views: Sequence[explorer.View], sections: Sequence[dict[str, Any]], frames: dict[str, pl.DataFrame]
) -> dict[str, str]:
    """Return what the page lacks so that it stays small, and where it stands."""
    lines = [f"{view.title}: {view.left_out}" for view in views if view.left_out]
    if large := [name for section in sections for name in section["large"]]:
        lines.append(f"Tables of more than {MOST_SHOWN} rows, which stand in tables/: {'; '.join(large)}.")
    if len(frames.get("pictures", ())) >= mistakes.MOST_PICTURES:
        lines.append(f"Pictures of mistaken samples beyond the {mistakes.MOST_PICTURES} that are mistaken most often.")
    return {"Left out of this page": " ".join(lines) if lines else "nothing but the finer points of ROC curves"}


def _data_uri(file: Path) -> Markup:
    """Return a figure for an attribute in single quotes: a quarter shorter than base64, without its metadata."""
    if not file.exists():
        raise OodgridError(f"{file} is missing: the figures must be drawn before the page is written")
    svg = file.read_text(encoding="utf-8")
    svg = re.sub(r"\s+", " ", re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL))
    # What would end the attribute, or be read anew, is escaped, and what looks like an address: no page loads from one.
    text = quote(svg, safe=' <>=:/;,"()-_.!~*@$+?[]{}|^`').replace("http:", "http%3A").replace("url(", "url%28")
    return Markup(f"data:image/svg+xml,{text}")


def _facts(metrics: pl.DataFrame, broken_images: Sequence[tuple[str, str, int]]) -> dict[str, str]:
    """Return what the experiment spans, as words to read."""
    legend = Legend.of(metrics)
    methods = [title for name, title in legend.methods.items() if name != select.ANY]
    trained = metrics.filter(pl.col("shots") > 0)
    left_out = [f"{count} of {dataset} ({backbone})" for backbone, dataset, count in broken_images]
    seen = [f"{thing}: {', '.join(titles)}" for thing, titles in looked_at(metrics).items()]
    return {
        "Backbones": ", ".join(select.names(metrics, "backbone")),
        "ID datasets": ", ".join(select.names(metrics, "id_dataset")),
        "Methods": ", ".join(methods),
        "Scores": ", ".join(legend.scores.values()),
        "What scores look at beside the sample": "; ".join(seen),
        "Shots a class": ", ".join(map(str, sorted(trained["shots"].unique()))) or "none",
        "Seeds": ", ".join(map(str, sorted(trained["seed"].unique()))) or "none",
        **({"Broken images left out": ", ".join(left_out)} if left_out else {}),
    }
