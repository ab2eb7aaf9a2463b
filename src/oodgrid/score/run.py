"""The stage score: every score of one method on every sample, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from oodgrid import grid, paths, registry, store
from oodgrid.config import Choice, Experiment, IdDataset
from oodgrid.errors import OodgridError
from oodgrid.identity import code_fingerprint
from oodgrid.kept import Kept
from oodgrid.score.contract import Skip
from oodgrid.score.inputs import Labelled, UnitFiles, UnitInputs, read_units

KEYS = {"dataset": pl.String, "shots": pl.Int32, "seed": pl.Int32}
WORDS = {"negative_logits": "negative prompts, as neg_prompt and lsn learn them"}  # of needs, in reasons
SAMPLE = {"index": pl.Int32, "path": pl.String, "label": pl.Int32, "prediction": pl.Int32}


def score(results: Path, experiment: Experiment, backbone: str, id_dataset: str, method: str) -> Path:
    """Score every sample of every set under every (shots, seed) of one method and write the table.

    Columns: dataset, shots, seed, index, path, label, prediction (null where there are no logits), and one float64
    column a score. A score that was skipped is null; the table's metadata say why, fit by fit,
    and how many broken images a set lacks.

    Raises:
        OodgridError: A file that is needed is missing or damaged, or class names of a pair overlap.
    """
    dataset = experiment.id_dataset(id_dataset)
    names = [id_dataset, *(ood.name for _, ood in dataset.pairs())]
    sets = {name: store.read_features(paths.features(results, backbone, name, "test")) for name in names}
    _check_class_names(dataset, sets)
    units, labelled = read_units(results, experiment, backbone, id_dataset, method)
    job = _Job(results, sets, labelled, {c.listed("score"): c for c in grid.scores(experiment, method)})
    records = [job.run(unit) for unit in tqdm(units, desc=f"score {method} on {id_dataset} ({backbone})", delay=5)]
    tables = [job.table(record) for record in records if record["status"] == "ok"]
    empty = pl.DataFrame(schema={**KEYS, **SAMPLE, **dict.fromkeys(job.choices, pl.Float64)})
    table = pl.concat([empty, *tables])
    params = {name: registry.find("score", c.name).params | c.params for name, c in job.choices.items()}
    path = paths.scores(results, experiment.experiment, backbone, id_dataset, method)
    broken = {
        name: len(left_out) for name, features in sets.items() if (left_out := features.provenance.get("skipped"))
    }
    store.write_table(path, table, {"units": records, "params": params, "broken_images": broken})
    return path


class _Job:
    """What all fits of one method share: the feature files, the scores, and where parts are kept."""

    def __init__(
        self, results: Path, sets: dict[str, store.Features], labelled: Labelled, choices: dict[str, Choice]
    ) -> None:
        self.results, self.sets, self.labelled, self.choices = results, sets, labelled, choices
        self.kept = Kept(results, "score")
        self.code = code_fingerprint("oodgrid.score", "oodgrid.sampling")

    def run(self, unit: UnitFiles) -> dict[str, Any]:
        """Return the record of one fit, scoring the sets that are not there yet."""
        record = {"shots": unit.shots, "seed": unit.seed, "status": unit.status, "reason": unit.reason}
        if unit.status != "ok":
            return record
        whole = UnitInputs(self.results, unit, self.labelled)
        parts = {name: self._part(whole, name) for name in self.sets}
        skipped: dict[str, str] = {}
        for part in parts.values():
            skipped |= store.read_table(self.results / part)[1]["skipped"]
        return {**record, "parts": parts, "skipped": skipped}

    def table(self, record: dict[str, Any]) -> pl.DataFrame:
        """Return the samples of one fit, all sets under each other."""
        keys = {"shots": record["shots"], "seed": record["seed"]}
        parts = [
            store.read_table(self.results / part)[0].select(
                *(pl.lit(value, dtype=KEYS[key]).alias(key) for key, value in {"dataset": name, **keys}.items()),
                pl.all(),
            )
            for name, part in record["parts"].items()
        ]
        return pl.concat(parts)

    def _part(self, unit: UnitInputs, name: str) -> str:
        files = unit.files
        left = [files.classifier, files.bank, files.val, files.sets.get(name)]
        identity = {
            "unit": [files.shots, files.seed, *left],
            "features": self.sets[name].digest,
            "labelled": self.labelled.digests if files.shots else None,
            "scores": [[listed, choice.name, choice.params] for listed, choice in self.choices.items()],
            "code": self.code,
        }
        return self.kept.name(self.kept.get(identity, ".parquet", lambda path: self._write(unit, name, path)))

    def _write(self, unit: UnitInputs, name: str, path: Path) -> None:
        features = self.sets[name]
        inputs = unit.inputs(name, features)
        values, skipped = {}, {}
        for listed, choice in self.choices.items():
            try:
                values[listed] = compute(choice, inputs)
            except Skip as skip:
                values[listed], skipped[listed] = None, str(skip)
        prediction = inputs["logits"].argmax(axis=1) if "logits" in inputs else None
        samples = [np.arange(len(features.labels)), features.paths, features.labels, prediction]
        table = pl.DataFrame(
            {**dict(zip(SAMPLE, samples, strict=True)), **values},
            schema_overrides={**SAMPLE, **dict.fromkeys(values, pl.Float64)},
        )
        store.write_table(path, table, {"skipped": skipped})


def compute(choice: Choice, inputs: dict[str, Any]) -> np.ndarray:
    """Return one score of N samples, shape (N,), float64.

    Raises:
        Skip: What the score needs is not there, or makes no sense.
        OodgridError: The score gave another shape or values that are not finite.
    """
    entry = registry.find("score", choice.name)
    given = [next((inputs[name] for name in need.split("|") if name in inputs), None) for need in entry.needs]
    missing = [need for need, found in zip(entry.needs, given, strict=True) if found is None]
    if missing:
        raise Skip(f"{choice.name} needs {', '.join(WORDS.get(need, need.replace('|', ' or ')) for need in missing)}")
    values = np.asarray(entry.make(*given, **choice.params), dtype=np.float64)
    if values.shape != (len(given[0]),) or not np.isfinite(values).all():
        raise OodgridError(
            f"score {choice.listed('score')} gave shape {values.shape} with {np.sum(~np.isfinite(values))} values that "
            f"are not finite; one finite number a sample, ({len(given[0])},), is needed"
        )
    return values


def _check_class_names(dataset: IdDataset, sets: dict[str, store.Features]) -> None:
    """Refuse pairs whose class names, known only from the files, overlap."""
    own = {_plain(name) for name in sets[dataset.name].classnames or ()}
    for kind, ood in dataset.pairs():
        shared = own & {_plain(name) for name in sets[ood.name].classnames or ()}
        if shared and kind != "covariate" and not dataset.allow_overlap:
            raise OodgridError(
                f"OOD set {ood.name} overlaps ID set {dataset.name}: they share {len(shared)} class names, as "
                f"'{min(shared)}'. Take it out, or write allow_overlap: true under {dataset.name} "
                "(tables will mark the pair)"
            )


def _plain(name: str) -> str:
    return name.lower().replace("_", " ").strip()
