"""Which gains over zero-shot MCM stand on real features: the tables of docs/ranking.md, from results/real-clip-all*.

python benchmarks/ranking.py            # the tables
python benchmarks/ranking.py --figures  # and docs/figures/ranking-*.png
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib import style
from matplotlib.figure import Figure

from oodgrid import registry
from oodgrid.look import COLOURS
from oodgrid.published.entries import Value, catalogued
from oodgrid.report import canvas
from oodgrid.report.names import points

ROOT = Path(__file__).parents[1]
RESULTS = tuple(ROOT / "results" / name for name in ("real-clip-all", "real-clip-all-x"))
FOUR = {"inaturalist", "sun", "places", "textures"}
METRICS = {"auroc": 1, "fpr95_id_pos": -1, "fpr95_ood_pos": -1}  # 1: more is better
SCOPES = ("near", "far")
TICKS = (-50, -20, -5, -2, 0, 2, 5, 20)
SEEN_UNDER = ("zero_shot", "any", "linear_probe", "clip_adapter")  # the first under which a score runs stands for it


LOOKS = dict(zip(("blue", "vermillion", "green", "purple"), "os^D", strict=True))  # of the ID sets, in their order


def main() -> None:
    """Print the tables, and draw the figures."""
    for name, lines in tables().items():
        print(f"\n{name}\n", *lines, sep="\n")
    if "--figures" in sys.argv:
        against = _against(read("comparisons")).filter(~pl.col("transductive"), metric="auroc")
        for name, pairs in (("scores", _standing(against)), ("methods", _under_mcm(against))):
            draw(against, list(pairs), name, ROOT / "docs" / "figures" / f"ranking-{name}.png")
        draw_shots(_over_shots(read("comparisons")), ROOT / "docs" / "figures" / "ranking-shots.png")


def draw(against: pl.DataFrame, pairs: Sequence[tuple[str, str]], of: str, file: Path) -> None:
    """Draw differences to zero-shot MCM with their intervals: a line a score or method, a mark an ID set."""
    sets = _ordered(against, "id_dataset")
    with style.context(canvas.STYLE):
        figure = Figure(figsize=(canvas.TEXT, 0.6 + 0.155 * len(pairs)), layout="constrained")
        for panel, scope in zip(figure.subplots(1, 2, sharey=True), SCOPES, strict=True):
            panel.axvline(0, color="black", linewidth=0.5)
            for place, (name, (colour, mark)) in enumerate(zip(sets, LOOKS.items(), strict=False)):
                rows = [_one(against, score, method, scope, name) for score, method in pairs]
                there = [(at, row) for at, row in enumerate(rows) if row]
                heights = [at + 0.18 * (place - (len(sets) - 1) / 2) for at, _ in there]
                middles = [100 * row["diff"] for _, row in there]
                ends = [[100 * abs(row[end] - row["diff"]) for _, row in there] for end in ("lo", "hi")]
                looks = {"color": COLOURS[colour], "marker": mark, "markersize": 2.2, "elinewidth": 0.5}
                panel.errorbar(middles, heights, xerr=ends, linestyle="none", label=name, **looks)
            panel.set_xscale("symlog", linthresh=5)
            panel.set_xticks(TICKS, [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in TICKS])
            panel.set(
                title=f"{scope} OOD", xlabel="AUROC minus that of zero-shot MCM, points", ylim=(len(pairs) - 0.4, -0.6)
            )
            panel.grid(axis="y")
        names = [_plain(method if of == "methods" else score) for score, method in pairs]
        figure.axes[0].set_yticks(range(len(pairs)), names, fontsize=6)
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(sets))
        figure.savefig(file, metadata={"Software": None})


def draw_shots(rows: pl.DataFrame, file: Path) -> None:
    """Draw every method under MCM over the shots: a panel an ID set and scope, the difference to zero-shot MCM."""
    sets, methods = _ordered(rows, "id_dataset"), _ordered(rows, "method")
    ticks = sorted(set(rows["shots"]))
    with style.context(canvas.STYLE):
        figure = Figure(figsize=(canvas.TEXT, 3.6), layout="constrained")
        grid = figure.subplots(len(SCOPES), len(sets), sharex=True, sharey=True)
        for line, scope in zip(grid, SCOPES, strict=True):
            for panel, name in zip(line, sets, strict=True):
                panel.axhline(0, color="black", linewidth=0.5)
                for method in methods:
                    own = rows.filter(scope=scope, id_dataset=name, method=method).sort("shots")
                    look = registry.find("method", method).look
                    drawn = {"color": look.colour, "linestyle": look.line, "linewidth": 0.8, "markersize": 3}
                    panel.plot(own["shots"], 100 * own["diff"], label=method, **drawn, **points(look))
                panel.set_xscale("log", base=2)
                panel.set_xticks(ticks, [str(tick) for tick in ticks])
                panel.set_yscale("symlog", linthresh=5)
                panel.set_yticks(TICKS, [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in TICKS])
        for panel, name in zip(grid[0], sets, strict=True):
            panel.set_title(name, fontsize=7)
        for panel in grid[-1]:
            panel.set_xlabel("shots")
        for line, scope in zip(grid, SCOPES, strict=True):
            line[0].set_ylabel(f"{scope} OOD: AUROC minus\nthat of zero-shot MCM, points", fontsize=7)
        figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=6)
        figure.savefig(file, metadata={"Software": None})


def _over_shots(comparisons: pl.DataFrame) -> pl.DataFrame:
    """Return the differences in AUROC of every method under MCM, at every number of shots."""
    rows = comparisons.filter(pl.col("id_dataset").is_not_null(), pl.col("shots") > 0, pl.col("scope").is_in(SCOPES))
    return rows.filter(against="zero_shot_mcm", metric="auroc", score="mcm")


def _one(against: pl.DataFrame, score: str, method: str, scope: str, name: str) -> dict[str, Any] | None:
    rows = against.filter(pl.col("lo").is_not_null(), score=score, method=method, scope=scope, id_dataset=name)
    return rows.row(0, named=True) if rows.height else None


def _under_mcm(against: pl.DataFrame) -> Iterable[tuple[str, str]]:
    return (("mcm", method) for method in _ordered(against.filter(score="mcm"), "method") if method != "zero_shot")


def _against(comparisons: pl.DataFrame) -> pl.DataFrame:
    return comparisons.filter(pl.col("largest"), pl.col("id_dataset").is_not_null(), against="zero_shot_mcm")


def tables() -> dict[str, list[str]]:
    """Return the lines of each table, in Markdown."""
    rows = read("comparisons").filter(pl.col("largest"), pl.col("id_dataset").is_not_null())
    against = _against(rows)
    return {
        "answer": list(_answer(against)),
        "sets": list(_sets()),
        "published": list(_published(against)),
        "scores": list(_scores(against)),
        "methods": list(_methods(against)),
        "shots": list(_shots(_over_shots(read("comparisons")))),
        "counts": list(_counts(against)),
        "best": list(_best(rows)),
        "streams": list(_streams(against)),
        "skipped": list(_skipped()),
    }


def read(table: str) -> pl.DataFrame:
    """Return a table of all experiments, one below the other."""
    parts = [pl.read_parquet(folder / f"{table}.parquet") for folder in RESULTS if folder.is_dir()]
    return pl.concat(parts, how="diagonal_relaxed")


def _answer(against: pl.DataFrame) -> Iterable[str]:
    """Of each score with a published gain, on how many ID sets it is above zero-shot MCM, under zero-shot."""
    yield _line("published gain of", "points there", *(f"{scope} OOD, ID sets" for scope in SCOPES))
    yield "|---" * 4 + "|"
    for (method, score), gains in _gains().items():
        rows = _first(against, method, score)
        if min(gains) > 0 and not rows.is_empty():
            yield _line(f"`{score}`", _span(gains), *(_tally(rows.filter(scope=scope)) for scope in SCOPES))


def _sets() -> Iterable[str]:
    metrics = read("metrics").filter(status="ok")
    floor = metrics.filter(method="zero_shot", score="mcm")
    yield "| ID set | ID images | accuracy | OOD | images | zero-shot MCM: AUROC | FPR95 ID pos. | FPR95 OOD pos. |"
    yield "|---" * 8 + "|"
    for row in floor.iter_rows(named=True):
        numbers = (f"{100 * row[m]:.2f} [{100 * row[f'{m}_lo']:.2f}, {100 * row[f'{m}_hi']:.2f}]" for m in METRICS)
        of_id = (row["id_dataset"], str(row["n_id"]), f"{100 * row['id_accuracy']:.1f}")
        yield _line(*of_id, f"{row['ood_kind']}: {row['ood_dataset']}", str(row["n_ood"]), *numbers)


def _published(against: pl.DataFrame) -> Iterable[str]:
    """Rows of what ran here and has a published gain in mean AUROC of four OOD sets, ImageNet, ViT-B/16."""
    sets = _ordered(against, "id_dataset")
    yield _line("published", "gain there", *(f"{scope}: {name}" for scope in SCOPES for name in sets), "above 0")
    yield "|---" * (3 + 2 * len(sets)) + "|"
    for (method, score), gains in _gains().items():
        rows = _first(against, method, score)
        if not rows.is_empty():
            cells = [_cell(rows.filter(scope=scope, id_dataset=name)) for scope in SCOPES for name in sets]
            yield _line(f"`{method}`, `{score}`", _span(gains), *cells, _tally(rows))


def _first(against: pl.DataFrame, method: str, score: str) -> pl.DataFrame:
    """Return the rows in AUROC of the first variant of a score under a method; none where it did not run."""
    rows = against.filter(metric="auroc", base_method=method, base_score=score)
    return rows if rows.is_empty() else rows.filter(pl.col("score") == rows["score"][0])


def _span(gains: Sequence[float]) -> str:
    """Return the smallest and the largest of the gains that several sources print."""
    ends = dict.fromkeys(f"{each:+.2f}".replace("-", "−") for each in (min(gains), max(gains)))
    return " to ".join(ends)


def _gains() -> dict[tuple[str, str], list[float]]:
    """Return what each source prints above MCM's own number, in points, by method and score."""
    values = [v for v in catalogued() if v.metric == "auroc" and set(v.oods) == FOUR and _of_b16(v)]
    floor = next(v.number for v in values if v.source == "mcm")
    gains: dict[tuple[str, str], list[float]] = {}
    for value in values:
        named = value.setting.method.name, value.setting.score.name
        if named != ("zero_shot", "mcm"):
            gains.setdefault(named, []).append(100 * (value.number - floor))
    return gains


def _of_b16(value: Value) -> bool:
    return value.setting.backbone.model == "ViT-B-16" and value.setting.backbone.pretrained == "openai"


def _scores(against: pl.DataFrame) -> Iterable[str]:
    sets = _ordered(against, "id_dataset")
    yield _line("score", "looks at", "under", *(f"{scope}: {name}" for scope in SCOPES for name in sets), "above 0")
    yield "|---" * (4 + 2 * len(sets)) + "|"
    for score, method in _standing(against.filter(~pl.col("transductive"))):
        rows = against.filter(metric="auroc", score=score, method=method)
        cells = [_cell(rows.filter(scope=scope, id_dataset=name)) for scope in SCOPES for name in sets]
        yield _line(_score(score), _looks_at(score), f"`{method}`", *cells, _tally(rows))


def _methods(against: pl.DataFrame) -> Iterable[str]:
    sets = _ordered(against, "id_dataset")
    accuracy = read("summary").filter(pl.col("largest"), metric="id_accuracy", scope="id")
    yield _line("method", "accuracy", *(f"{scope}: {name}" for scope in SCOPES for name in sets), "above 0")
    yield "|---" * (3 + 2 * len(sets)) + "|"
    for method in _ordered(against.filter(score="mcm"), "method"):
        rows = against.filter(metric="auroc", score="mcm", method=method)
        of_sets = [accuracy.filter(id_dataset=name, method=method)["mean"] for name in sets]
        cells = [_cell(rows.filter(scope=scope, id_dataset=name)) for scope in SCOPES for name in sets]
        yield _line(
            f"`{method}`", ", ".join(f"{100 * a[0]:.1f}" if len(a) else "–" for a in of_sets), *cells, _tally(rows)
        )


def _shots(rows: pl.DataFrame) -> Iterable[str]:
    """On how many ID sets every method under MCM is above zero-shot MCM and below, at every number of shots."""
    shots = sorted(set(rows["shots"]))
    yield _line("method", *(f"{scope}: {number}" for scope in SCOPES for number in shots))
    yield "|---" * (1 + len(SCOPES) * len(shots)) + "|"
    for method in _ordered(rows, "method"):
        own = rows.filter(method=method)
        yield _line(f"`{method}`", *(_tally(own.filter(scope=scope, shots=n)) for scope in SCOPES for n in shots))


def _counts(against: pl.DataFrame) -> Iterable[str]:
    """How many (method, ID set) rows of each score lie above and below zero-shot MCM, by each metric."""
    yield _line("score", *(f"{scope}: {metric}" for scope in SCOPES for metric in METRICS))
    yield "|---" * 7 + "|"
    for score in _ordered(against.filter(~pl.col("transductive")), "score"):
        rows = against.filter(score=score)
        cells = (
            _tally(rows.filter(scope=scope, metric=metric), sign)
            for scope in SCOPES
            for metric, sign in METRICS.items()
        )
        yield _line(_score(score), *cells)


def _best(rows: pl.DataFrame) -> Iterable[str]:
    means = read("summary").filter(pl.col("largest"), metric="auroc")
    yield _line("ID set", "OOD", "best", "AUROC", "rows in the best set", "of")
    yield "|---" * 6 + "|"
    best = rows.filter(~pl.col("transductive"), against="best", metric="auroc")
    for name in _ordered(rows, "id_dataset"):
        for scope in SCOPES:
            own = best.filter(id_dataset=name, scope=scope)
            first = own.filter(pl.col("is_best")).row(0, named=True)
            key = {k: first[k] for k in ("method", "score")}
            number = means.filter(id_dataset=name, scope=scope, **key).row(0, named=True)
            cell = f"{100 * number['mean']:.2f} [{100 * number['lo']:.2f}, {100 * number['hi']:.2f}]"
            inside = own.filter(pl.col("in_best_set")).height
            yield _line(
                name, scope, f"`{first['method']}`, {_score(first['score'])}", cell, str(inside), str(own.height)
            )


def _streams(against: pl.DataFrame) -> Iterable[str]:
    against = against.filter(pl.col("transductive"), metric="auroc")
    sets = _ordered(against, "id_dataset")
    yield _line("stream", "under", *(f"{scope}: {name}" for scope in SCOPES for name in sets), "above 0")
    yield "|---" * (3 + 2 * len(sets)) + "|"
    for score, method in against.select("score", "method").unique(maintain_order=True).rows():
        rows = against.filter(score=score, method=method)
        cells = [_cell(rows.filter(scope=scope, id_dataset=name)) for scope in SCOPES for name in sets]
        yield _line(_score(score), f"`{method}`", *cells, _tally(rows))


def _skipped() -> Iterable[str]:
    """What does not run on these features: methods by what they need, scores by what the run says."""
    yield "| not run | why |"
    yield "|---|---|"
    ran = set(read("metrics")["base_method"])
    own = {name: one for name, one in registry.entries("method").items() if one.plugin is None}
    for needs in ("text_tower", "pairs", "own_head", "pseudo_ood"):
        names = [name for name, one in own.items() if needs in one.needs and name not in ran]
        yield _line(", ".join(f"`{name}`" for name in names), f"needs {needs}")
    metrics = read("metrics")
    never = metrics.filter((pl.col("status") == "ok").any().over("score").not_())
    for score in _ordered(never, "score"):
        reasons = never.filter(score=score)["reason"].value_counts(sort=True)["reason"]
        yield _line(_score(score), reasons[0])


def _standing(rows: pl.DataFrame) -> Iterable[tuple[str, str]]:
    """Return each score, and the method under which it stands in the table."""
    for score in _ordered(rows, "score"):
        under = set(rows.filter(score=score)["method"])
        yield score, next(method for method in (*SEEN_UNDER, *sorted(under)) if method in under)


def _cell(row: pl.DataFrame) -> str:
    """Return a difference with its interval in points, bold where it stands after Holm's correction."""
    if row.is_empty():
        return "–"
    told = row.row(0, named=True)
    diff = f"{100 * told['diff']:+.1f}".replace("-", "−")
    if told["lo"] is None:
        return diff
    ends = f"[{100 * told['lo']:.1f}, {100 * told['hi']:.1f}]".replace("-", "−")
    return f"**{diff}** {ends}" if told["p_corrected"] < 0.05 else f"{diff} {ends}"


def _tally(rows: pl.DataFrame, sign: int = 1) -> str:
    """Return how many differences have an interval on the better side of 0, and on the worse one."""
    rows = rows.filter(pl.col("scope").is_in(SCOPES), pl.col("lo").is_not_null())
    low, high = ("lo", "hi") if sign > 0 else ("hi", "lo")
    better = rows.filter(sign * pl.col(low) > 0).height
    worse = rows.filter(sign * pl.col(high) < 0).height
    return f"{better} of {rows.height}, {worse} below"


def _ordered(rows: pl.DataFrame, column: str) -> list[str]:
    return rows[column].drop_nulls().unique(maintain_order=True).to_list()


def _score(name: str) -> str:
    return f"`{_plain(name)}`"


def _plain(name: str) -> str:
    """Return the name of a variant without the one list of texts that there is."""
    base, _, params = name.partition("@")
    return "@".join(filter(None, (base, ",".join(p for p in params.split(",") if not p.endswith("=lvis")))))


def _looks_at(score: str) -> str:
    return ", ".join(registry.find("score", score.partition("@")[0]).looks_at) or "–"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
