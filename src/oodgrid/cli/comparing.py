"""The verb `compare`: results beside what others published."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from oodgrid import paths
from oodgrid.cli.common import print_table
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, printable, unknown

if TYPE_CHECKING:
    from oodgrid.config import Experiment
    from oodgrid.published import Comparison, Value

HEADER = ("source", "ours is", "ID / OOD", "metric", "ours", "interval", "theirs", "difference", "tolerance", "verdict")
MOST_GROUPS = 15  # of what does not compare, without --all
MOST_REASONS = 4  # of one line


def run_compare(options: argparse.Namespace) -> None:
    """Print ours, theirs, difference, interval and verdict of what compares, and why the rest does not."""
    from oodgrid import manifests
    from oodgrid.errors import all_of
    from oodgrid.published import Ours, catalogued, compared

    file = _metrics_file(options)
    values = list(catalogued())
    all_of(*(partial(_add_values, values, path) for path in options.published))
    metrics, _ = manifests.read_table(file, manifests.Metrics)
    name = metrics["experiment"][0] if len(metrics) else file.parent.name
    summary = file.with_name(paths.summary(options.results, name).name)
    experiment, said = _experiment(options.config, file, name)
    frame = manifests.read_table(summary, manifests.Summary)[0] if summary.exists() else None
    comparisons = compared(values, Ours(metrics, frame, experiment))
    if options.json:
        counts = Counter(each.verdict for each in comparisons)
        rows = [each.as_dict() for each in comparisons]
        print(json.dumps({"experiment": name, "settings": said, "counts": counts, "values": rows}, indent=1))
        return
    print(f"experiment {name}: {_counted(comparisons)}")
    print(f"settings of ours: {said}")
    _print_compared([each for each in comparisons if not each.reasons])
    _print_others([each for each in comparisons if each.reasons], options.all)


def _add_values(values: list[Value], path: Path) -> None:
    from oodgrid.published import read_values

    values += read_values(path)


def _metrics_file(options: argparse.Namespace) -> Path:
    """Return the file that is meant: it is named, or its folder, its experiment or its configuration."""
    from oodgrid.config import load

    results, what = options.results, options.what
    if what is not None and Path(what).suffix in (".yaml", ".yml"):
        options.config = options.config or Path(what)
        what = load(Path(what)).experiment
    known = sorted(path.parent.name for path in results.glob("*/metrics.parquet"))
    if what is None:
        if len(known) == 1:
            return paths.metrics(results, known[0])
        raise OodgridError(f"say which experiment, or which metrics.parquet: known: {', '.join(known) or 'none'}")
    path = Path(what)
    if path.is_dir() and paths.metrics(path.parent, path.name).exists():
        return paths.metrics(path.parent, path.name)
    if path.suffix == ".parquet" or path.is_file():
        return path
    if not paths.metrics(results, what).exists():
        raise OodgridError(f"{unknown('experiment', what, known)} (experiments with a metrics.parquet in {results})")
    return paths.metrics(results, what)


def _experiment(config: Path | None, file: Path, name: str) -> tuple[Experiment | None, str]:
    """Return the configuration behind some metrics, and where it is from.

    It is the one that is named, or else that which planned the run, or one of the current folder of that experiment.
    """
    from oodgrid.config import load

    if config is not None:
        experiment = load(config)
        if experiment.experiment != name:
            raise OodgridError(f"{config} is experiment {experiment.experiment}, and {file} is of {name}")
        return experiment, str(config)
    planned = sorted((file.parent / paths.CONFIGS).glob("*.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in [*planned, *filter(Path.is_file, (Path("config.yaml"),)), *sorted(Path("experiments").glob("*.yaml"))]:
        with suppress(OodgridError):
            if (experiment := load(path)).experiment == name:
                return experiment, str(path)
    return None, "no configuration found (--config FILE): names of backbones are taken as the catalogue means them"


def _counted(comparisons: Iterable[Comparison]) -> str:
    from oodgrid.published import VERDICTS

    counts = Counter(each.verdict for each in comparisons)
    each = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"of {counts.total()} published values {each}"


def _print_compared(comparisons: list[Comparison]) -> None:
    if not comparisons:
        return
    lines = []
    for each in comparisons:
        value, row = each.value, each.row
        assert row is not None and each.ours is not None and each.difference is not None
        interval = "" if each.lo is None or each.hi is None else f"[{100 * each.lo:.2f}, {100 * each.hi:.2f}]"
        names = f"{row.method}, {row.score}" if value.oods else row.method
        shots = f", {counted(row.shots, 'shot')}" if row.shots else ""
        lines.append(
            (value.about.title, f"{row.backbone}: {names}{shots}", f"{row.id_dataset} / {' + '.join(each.oods) or '-'}",
             value.metric, f"{100 * each.ours:.2f}", interval, f"{100 * value.number:.2f}",
             f"{100 * each.difference:+.2f}", f"{100 * value.tolerance:.2f}",
             each.verdict + (f" ({', '.join(each.unchecked)} not stated)" if each.unchecked else ""))
        )  # fmt: skip
    print()
    print_table(HEADER, lines)


def _print_others(comparisons: list[Comparison], is_all: bool) -> None:
    """Print why values do not compare: a line for those of a source that differ in the same, the most similar first."""
    if not comparisons:
        return
    groups: dict[tuple[str, ...], list[Comparison]] = {}
    for each in comparisons:
        key = (each.value.source, *sorted({reason.what for reason in each.reasons}))
        groups.setdefault(key, []).append(each)
    ordered = sorted(groups.values(), key=lambda those: min(each.cost for each in those))
    shown = ordered if is_all else ordered[:MOST_GROUPS]
    print("\nnot comparable, the most similar first:")
    for those in shown:
        count = counted(len(those), "value")
        print(f"  {those[0].value.about.title}, {count}: {_reasons(those)}")
    if rest := ordered[len(shown) :]:
        sources = {each.value.source for those in rest for each in those}
        print(
            f"  … and {counted(sum(map(len, rest)), 'value')} of {counted(len(sources), 'source')} that differ "
            f"in more: --all lists them"
        )


def _reasons(comparisons: list[Comparison]) -> str:
    """Return what some values differ in, once each."""
    texts: dict[str, list[str]] = {}
    for each in comparisons:
        for what, text, _ in each.reasons:
            texts.setdefault(what, []).append(text)
    parts = []
    for what, those in texts.items():
        different = list(dict.fromkeys(those))
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        parts.append(f"{what}: {printable(different[0], 160)}{more}")
    return "; ".join(parts[:MOST_REASONS]) + (f"; {len(parts) - MOST_REASONS} more" if parts[MOST_REASONS:] else "")
