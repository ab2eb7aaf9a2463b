"""Metrics of anybody's own scores, from two files: what `oodgrid metrics --id FILE --ood FILE` runs.

A score file is a one-dimensional .npy array, or one numeric column of a .csv, .csv.gz or .parquet file. A .csv
may have a header line or not. Of a table that the stage score left, `FILE@dataset=concepts,shots=16,seed=1` names the
samples of one set and fit. Every fault in a file is one line that names the file and the first bad place.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oodgrid.errors import OodgridError, one_line, unknown
from oodgrid.evaluate.intervals import intervals
from oodgrid.evaluate.metrics import count_scores, metrics_from_counts
from oodgrid.store import frames, no_memory

KEYS = ("dataset", "shots", "seed", "ood_dataset")  # of the tables of the stage score: they tell sets and fits apart
NOT_SCORES = (*KEYS, "index", "path", "label", "prediction")
SUFFIXES = (".npy", ".csv", ".csv.gz", ".parquet")
ROW_COLUMNS = (
    "n_id",
    "n_ood",
    "auroc",
    "auroc_lo",
    "auroc_hi",
    "fpr95_id_pos",
    "fpr95_id_pos_lo",
    "fpr95_id_pos_hi",
    "fpr95_ood_pos",
    "fpr95_ood_pos_lo",
    "fpr95_ood_pos_hi",
    "aupr_in",
    "aupr_out",
)
CONVENTIONS = {
    "auroc": "AUROC: share of pairs with the ID score above the OOD score, ties half",
    "fpr95_id_pos": "FPR95, ID positive: OOD kept where ID recall is nearest 95 %",
    "fpr95_ood_pos": "FPR95, OOD positive: ID flagged where 95 % of OOD is first caught",
    "aupr_in": "AUPR in: average precision, ID positive",
    "aupr_out": "AUPR out: average precision, OOD positive",
}


def read_scores(path: str | Path, column: str | None = None) -> NDArray[np.float64]:
    """Read the scores of one set from a file, shape (N,).

    Args:
        path: A .npy, .csv, .csv.gz or .parquet file; for the last, `FILE@column=value,…` takes some rows.
        column: The column to take; needed where the file has several, ignored where one column has no name.

    Raises:
        OodgridError: If the file is missing, damaged, of another kind or shape, empty, or holds anything but
            finite numbers, or if the column is unknown or left open. The message names the file and the first
            bad row.
    """
    path, where = _split_off_rows(path)
    readers = {".npy": _read_npy, ".csv": _read_csv, ".csv.gz": _read_csv}
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise OodgridError(f"{path}: cannot tell its kind; score files end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise OodgridError(f"{path}: no such file")
    try:
        return _read_parquet(path, column, where) if suffix == ".parquet" else readers[suffix](path, column)
    except OodgridError:
        raise
    except MemoryError as error:
        raise no_memory(path) from error
    except (Exception, pl.exceptions.PanicException) as error:  # readers of npy, gzip and Parquet fail in many ways
        raise OodgridError(f"{path}: cannot be read, is it complete? ({one_line(error)})") from error


def _split_off_rows(path: str | Path) -> tuple[Path, dict[str, str]]:
    """Return the file, and the values that columns must have in the rows to take."""
    match = re.fullmatch(r"(.+\.parquet)@(\w+=[^,=]+(?:,\w+=[^,=]+)*)", str(path), re.IGNORECASE)
    if match is None or Path(path).is_file():
        return Path(path), {}
    return Path(match[1]), dict(each.split("=") for each in match[2].split(","))


def _read_npy(path: Path, column: str | None) -> NDArray[np.float64]:
    """Read a one-dimensional numeric .npy array, which has no column to choose."""
    with path.open("rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    if array.ndim != 1:
        raise OodgridError(f"{path}: has shape {array.shape}; give one number per sample, (N,)")
    if array.dtype.kind not in "fiu":
        raise OodgridError(f"{path}: has type {array.dtype}; scores must be integers or floats")
    return _finite(array.astype(np.float64), path, "index", 0)


def _read_csv(path: Path, column: str | None) -> NDArray[np.float64]:
    """Read one column of a .csv or .csv.gz file; its first line is a header if any of its cells is no number."""
    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        # polars takes the readable half of a truncated file; gzip checks its length and checksum
        raw = gzip.decompress(raw)
    if not raw.strip():
        raise OodgridError(f"{path}: is empty")
    cells = frames.read_csv(path, raw, has_header=False, infer_schema=False).with_columns(pl.all().str.strip_chars())
    first = cells.row(0)
    has_header = _to_float(pl.Series(first, dtype=pl.String)).is_null().any() and any(first)
    names = [cell or "" for cell in first] if has_header else [""] * len(first)
    written = cells.select(pl.any_horizontal(pl.all().is_not_null())).to_series().arg_true()
    end = written[-1] + 1 if written.len() else 0  # blank lines at the end are no samples
    chosen = cells.to_series(_choose(names, column, path))[int(has_header) : end]
    numbers = _to_float(chosen)
    words = (numbers.is_null() & (chosen.fill_null("") != "")).arg_true()
    if words.len():
        line = words[0] + 1 + int(has_header)
        raise OodgridError(f"{path}: line {line} holds '{chosen[words[0]]:.40}', which is no number")
    return _finite(numbers.fill_null(np.nan).to_numpy(), path, "line", 1 + int(has_header))


def _to_float(cells: pl.Series) -> pl.Series:
    """Parse text cells, null where a cell is no number."""
    return cells.cast(pl.Float64, strict=False)


def _read_parquet(path: Path, column: str | None, where: dict[str, str]) -> NDArray[np.float64]:
    """Read one numeric column of some rows of a .parquet file, without loading the others."""
    lazy = frames.scan_parquet(path)
    names = lazy.collect_schema().names()
    choices = [name for name in names if "dataset" not in names or name not in NOT_SCORES]
    name = choices[_choose(choices, column, path)]
    for key in where:
        if key not in names:
            raise OodgridError(f"{path}: {unknown('column', key, names)}")
    conditions = [pl.col(key).cast(pl.String) == value for key, value in where.items()]
    keys = [key for key in KEYS if key in names]
    taken = lazy.filter(*conditions).select(*dict.fromkeys([*keys, name])).collect()
    if where and taken.is_empty():
        raise OodgridError(f"{path}: no row has {', '.join(f'{key}={value}' for key, value in where.items())}")
    _check_one_set(path, taken, keys)
    chosen = taken[name]
    if not chosen.dtype.is_numeric():
        raise OodgridError(f"{path}: column '{name}' has type {chosen.dtype}; scores must be numbers")
    return _finite(chosen.cast(pl.Float64).fill_null(np.nan).to_numpy(), path, "row", 1)


def _check_one_set(path: Path, taken: pl.DataFrame, keys: list[str]) -> None:
    """Refuse to take samples of several sets or fits for one."""
    if "dataset" not in keys:
        return
    several = [key for key in keys if taken[key].n_unique() > 1]
    if several:
        first = ",".join(f"{key}={taken[key][0]}" for key in keys)
        found = "; ".join(
            f"{key}: {', '.join(map(str, taken[key].unique(maintain_order=True)[:8]))}" for key in several
        )
        raise OodgridError(f"{path}: holds several sets or fits ({found}): choose one, as {path.name}@{first}")


def _choose(names: list[str], column: str | None, path: Path) -> int:
    """Return the position of the column to read; a name is "" where the file gives none."""
    if len(names) == 1 and (column is None or not names[0]):
        return 0
    if not any(names):
        raise OodgridError(f"{path}: has {len(names)} columns and no header line to choose by; add one")
    known = [name for name in names if name]
    if column is None:
        index = " (the first, without a name, looks like an index)" if not names[0] else ""
        raise OodgridError(f"{path}: has {len(names)} columns{index}, choose one with --score: {', '.join(known)}")
    if names.count(column) > 1:
        raise OodgridError(f"{path}: has {names.count(column)} columns named '{column}'; rename all but one")
    if column not in known:
        raise OodgridError(f"{path}: {unknown('column', column, known)}")
    return names.index(column)


def _finite(scores: NDArray[np.float64], path: Path, unit: str, offset: int) -> NDArray[np.float64]:
    """Return the scores (N,) if there are any and all are finite; `offset` is the place of the first one."""
    if scores.size == 0:
        raise OodgridError(f"{path}: holds no scores")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        where = f"the first at {unit} {bad[0] + offset}"
        raise OodgridError(f"{path}: {bad.size} of {scores.size} scores are missing, NaN or infinite, {where}")
    return scores


def compare_files(
    id_path: str | Path, ood_path: str | Path, column: str | None = None, negate: bool = False
) -> dict[str, float]:
    """Return the metrics and 95 % intervals of two score files, by their columns in metrics.parquet.

    Args:
        id_path: Scores of the ID samples.
        ood_path: Scores of the OOD samples.
        column: The column to take from both files, where they have several.
        negate: Whether the files hold scores that are higher for more out-of-distribution samples.

    Raises:
        OodgridError: If `read_scores` refuses a file.
    """
    sign = -1.0 if negate else 1.0
    counts = count_scores(sign * read_scores(id_path, column), sign * read_scores(ood_path, column))
    row = metrics_from_counts(counts) | intervals(counts)
    return {name: row[name] for name in ROW_COLUMNS}


def format_table(row: dict[str, float], negate: bool = False) -> str:
    """Return a small text table in percent that says each convention in words.

    Args:
        row: What `compare_files` returned.
        negate: Whether the scores were negated, for the hint on an AUROC below one half.
    """
    width = max(map(len, CONVENTIONS.values()))
    lines = [f"{row['n_id']:,} ID and {row['n_ood']:,} OOD samples; percent [95 % interval]"]
    for name, words in CONVENTIONS.items():
        line = f"{words:<{width}}  {100 * row[name]:6.2f}"
        if f"{name}_lo" in row:
            line += f"  [{100 * row[f'{name}_lo']:.2f}, {100 * row[f'{name}_hi']:.2f}]"
        lines.append(line)
    if row["auroc"] < 0.5:
        mend = "drop --negate" if negate else "did you mean --negate?"
        lines.append(f"AUROC is below 50 %: higher must mean more in-distribution; {mend}")
    return "\n".join(lines)
