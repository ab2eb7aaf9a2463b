"""The verb `doctor`: whether this machine is fit for an experiment, and what to type next."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from oodgrid.counts import counted
from oodgrid.errors import OodgridError

if TYPE_CHECKING:
    from oodgrid.config import Experiment
    from oodgrid.health import Finding

DEFAULT = Path("config.yaml")
A_FEATURE = 4 * 768 + 200  # bytes of an image in a feature file: float32 of a ViT-L, path and digest
A_SCORE = 9.0  # bytes of a float64 in a table


def run_doctor(options: argparse.Namespace) -> None:
    """Print what was found of the machine and for the experiment, whether it is fit, and the next command.

    Raises:
        OodgridError: It is not fit, and the line says what to mend first; or two experiments are named.
    """
    from oodgrid.health import NOTE, UNFIT

    if options.file and options.configfile and options.file != options.configfile:
        raise OodgridError(f"two experiments are named, {options.file} and {options.configfile}: take one out")
    options.configfile = options.file or options.configfile
    with redirect_stdout(sys.stderr if options.json else sys.stdout):
        experiment, findings = _experiment(options)
        counts: dict[str, int] = {}
        for found in (_of_machine(options.results, experiment), _of_experiment(options, experiment, counts)):
            findings += found
    unfit = [each for each in findings if each.state == UNFIT]
    following = unfit[0].mend if unfit else _next(options, experiment)
    if options.json:
        rows = [each._asdict() for each in findings]
        print(json.dumps({"fit": not unfit, "next": following, "findings": rows}, indent=1))
    else:
        _print(findings)
        notes = sum(each.state == NOTE for each in findings)
        remark = f" ({counted(notes, 'note')} above)" if notes and not unfit else ""
        print(f"\n{'not fit' if unfit else 'fit'}{remark}; next: {following}")
    if unfit:
        raise OodgridError(f"not fit: {unfit[0].what}: {unfit[0].text.splitlines()[0]}")


def _experiment(options: argparse.Namespace) -> tuple[Experiment | None, list[Finding]]:
    """Return the experiment that is meant, and what is to be said of its configuration."""
    from oodgrid.config import load
    from oodgrid.health import NOTE, OK, UNFIT, Finding

    file = options.configfile or DEFAULT
    if options.configfile is None and not file.exists():
        return None, [Finding("experiment", NOTE, f"no {file} here", "oodgrid doctor --configfile FILE")]
    try:
        experiment = load(file)
    except OodgridError as error:
        mend = f"mend {file}"
        return None, [Finding("experiment", UNFIT, line, mend) for line in str(error).split("\n")]
    return experiment, [Finding("experiment", OK, f"{file}: {experiment.experiment}")]


def _of_machine(results: Path, experiment: Experiment | None) -> Iterator[Finding]:
    from oodgrid import health

    yield from health.of_machine()
    yield from health.of_cores()
    yield from health.of_memory(results, experiment)
    yield from health.of_gpu(experiment)
    yield from health.of_versions(_extras(results, experiment))
    yield from health.of_folder(results)


def _extras(results: Path, experiment: Experiment | None) -> set[str]:
    """Return the extras of the package without which the experiment does not run."""
    from oodgrid import plan, registry

    extras = {"workflow"}
    if experiment is not None:
        learns = any("text_tower" in registry.find("method", each.name).needs for each in experiment.methods)
        trains = any(registry.find("method", each.name).learns for each in experiment.methods)
        extras |= {"encode"} if learns or trains or plan.unencoded(results, experiment) else set()
        extras |= set() if all(each.text_encoder.takes_images for each in experiment.backbones) else {"text"}
        of_hub = [dataset.hf or (dataset.texts and dataset.texts.hf) for dataset in experiment.datasets()]
        extras |= {"hf"} if any(of_hub) else set()
    return extras


def _of_experiment(
    options: argparse.Namespace, experiment: Experiment | None, counts: dict[str, int]
) -> Iterator[Finding]:
    """Yield whether data and weights of an experiment are at hand, and whether what it will write has room."""
    from oodgrid import health, plan, unlock
    from oodgrid.cli.checking import check_experiment
    from oodgrid.health import NOTE, OK, UNFIT, Finding

    if experiment is None:
        yield from health.of_space(options.results, 0, "any experiment")
        return
    encoded = {dataset.name for dataset in plan.unencoded(options.results, experiment)}
    try:
        counts |= check_experiment(options.results, experiment)
        opened = ", ".join(f"{name} ({counted(count, 'sample')})" for name, count in counts.items())
        others = sorted(encoded - set(counts))
        text = f"all {counted(len({dataset.name for dataset in experiment.datasets()}), 'dataset')} are at hand"
        text += f"; to encode: {opened}" if opened else ""
        text += f"; not counted, being large: {', '.join(others)}" if others else ""
        yield Finding("data", OK, text)
    except OodgridError as error:
        for line in str(error).split("\n"):
            mend = "oodgrid import experiment CONFIG" if "imported" in line else f"oodgrid check {_file(options)}"
            yield Finding("data", UNFIT, line, mend.replace("CONFIG", str(_file(options))))
    yield from health.of_weights(experiment.backbones if encoded else ())
    yield from health.of_space(options.results, *_needed(options.results, experiment, counts))
    if locked := unlock.notice(Path.cwd()):
        yield Finding("lock", NOTE, locked, "oodgrid unlock")


def _needed(results: Path, experiment: Experiment, counts: dict[str, int]) -> tuple[float, str]:
    """Return the bytes that an experiment will still write, and what is not in that number.

    By what such jobs left here, and where none was measured by the size of what is to be stored.
    """
    from oodgrid import grid
    from oodgrid.plan.costs import costs

    every = {cost.kind: cost for cost in costs(results, experiment, counts)}
    images = sum(counts.values())
    needed = float(sum(cost.takes.bytes for cost in every.values()))
    if every["encode"].unmeasured:
        needed += every["encode"].units * A_FEATURE
    if every["score"].unmeasured:
        needed += every["score"].units * images * A_SCORE * len(experiment.scores)
    uncounted = every["encode"].uncounted
    local = [each.name for each in experiment.backbones if each.local_features]
    unknown = [f"samples of {', '.join(sorted(uncounted))}"] if uncounted else []
    unknown += [f"local features of {', '.join(local)}"] if local and every["encode"].unmeasured else []
    unknown += ["scores"] if not images and every["score"].unmeasured and grid.count_rows(experiment) else []
    return needed, " and ".join(unknown)


def _file(options: argparse.Namespace) -> Path:
    return options.configfile or DEFAULT


def _next(options: argparse.Namespace, experiment: Experiment | None) -> str:
    """Return the command that comes next on a machine that is fit."""
    from oodgrid import paths, plan

    if experiment is None:
        return "oodgrid doctor --configfile FILE"
    page = paths.report(options.results, experiment.experiment, "page")
    if all(file.exists() for file in plan.report_files(options.results, experiment)):
        return f"nothing is missing: open {page}"
    config = f" --configfile {shlex.quote(str(options.configfile))}" if options.configfile else ""
    return f"snakemake --cores {plan.cpus_here()}{config}"


def _print(findings: list[Finding]) -> None:
    width = max(len(each.what) for each in findings)
    for what, state, text, mend in findings:
        print(f"{state:5}  {what:{width}}  {text}{f'  → {mend}' if mend else ''}")
