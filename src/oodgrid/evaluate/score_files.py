"""Metrics of anybody's own scores, from two files: what `oodgrid metrics --id FILE --ood FILE` runs.

A score file is a one-dimensional .npy array, or one numeric column of a .csv, .csv.gz or .parquet file. A .csv
may have a header line or not. Of a table that the stage score left, `FILE@dataset=moonlit,shots=16,seed=1` names the
samples of one set and fit. Every fault in a file is one line that names the file and the first bad place, and what was
read is said.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oodgrid import store
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, unknown
from oodgrid.evaluate.columns import Column, choose, finite
from oodgrid.evaluate.intervals import all_metrics
from oodgrid.evaluate.score_csv import Dialect, read_csv
from oodgrid.identity import is_file, is_there
from oodgrid.measures import in_percent, recall_in
from oodgrid.services import silenced
from oodgrid.store import frames

KEYS = ("dataset", "shots", "seed", "ood_dataset")  # of the tables of the stage score: they tell sets and fits apart
NOT_SCORES = (*KEYS, "index", "path", "label", "prediction")
SUFFIXES = (".npy", ".csv", ".csv.gz", ".parquet")
CONVENTIONS = {
    "auroc": "AUROC: share of pairs with the ID score above the OOD score, ties half",
    "fpr95_id_pos": "FPR95, ID positive: OOD kept where ID recall is nearest 95 %",
    "fpr95_id_pos_mcm": "FPR95, ID positive: by the code of MCM, LoCoOp, NegLabel",
    "fpr95_ood_pos": "FPR95, OOD positive: ID flagged where 95 % of OOD is first caught",
    "aupr_in": "AUPR in: average precision, ID positive",
    "aupr_out": "AUPR out: average precision, OOD positive",
    "aupr_in_balanced": "AUPR in, at as many ID as OOD samples",
    "aupr_out_balanced": "AUPR out, at as many ID as OOD samples",
    "tied": "Pairs of an ID and an OOD sample with equal scores",
}


def read_scores(path: str | Path, column: str | None = None, dialect: Dialect | None = None) -> NDArray[np.float64]:
    """Read the scores of one set from a file, shape (N,); see `read_column`."""
    return read_column(path, column, dialect).scores


def read_column(path: str | Path, column: str | None = None, dialect: Dialect | None = None) -> Column:
    """Read the scores of one set from a file, with the name of their column.

    Args:
        path: A .npy, .csv, .csv.gz or .parquet file; for the last, `FILE@column=value,…` takes some rows.
        column: The column to take; needed where the file has several, ignored where one column has no name.
        dialect: How a .csv file is written, where that is in doubt.

    Raises:
        OodgridError: If the file is missing, damaged, of another kind or shape, empty, or holds anything but
            finite numbers, or if the column is unknown or left open. The message names the file and the first
            bad row.
    """
    path, where = _split_off_rows(path)
    suffix = _suffix(path)
    if suffix is None:
        raise OodgridError(
            f"{path}: cannot tell its kind; score files end in {', '.join(SUFFIXES)}: rename a text of numbers to .csv"
        )
    if not is_file(path):
        raise OodgridError(f"{path}: {'is a folder, not a file' if is_there(path) else 'no such file'}")
    readers = {".npy": lambda: _read_npy(path), ".parquet": lambda: _read_parquet(path, column, where)}
    try:
        with silenced():
            return readers.get(suffix, lambda: read_csv(path, column, dialect or Dialect()))()
    except OodgridError:
        raise
    except MemoryError as error:
        raise OodgridError(f"{path}: does not fit into memory, as it is or as its first bytes claim") from error
    # whatever libraries make of damaged bytes; polars reports some as a Rust panic, which is no Exception
    except (Exception, pl.exceptions.PanicException) as error:
        raise OodgridError(f"{path}: cannot be read, is it complete? ({_brief(error)})") from error


def _suffix(path: str | Path) -> str | None:
    """Return the ending that says of what kind a file is, None if it is of none that is known."""
    return next((suffix for suffix in SUFFIXES if Path(path).name.lower().endswith(suffix)), None)


def _brief(error: BaseException) -> str:
    """Return the first words of what a library said."""
    words = (str(error).splitlines() or [""])[0]
    return textwrap.shorten(words, 120, placeholder=" …") or type(error).__name__


def _split_off_rows(path: str | Path) -> tuple[Path, dict[str, str]]:
    """Return the file, and the values that columns must have in the rows to take."""
    match = re.fullmatch(r"(.+\.parquet)@(\w+=[^,=]+(?:,\w+=[^,=]+)*)", str(path), re.IGNORECASE)
    if match is None or Path(path).is_file():
        return Path(path), {}
    return Path(match[1]), dict(each.split("=") for each in match[2].split(","))


def _read_npy(path: Path) -> Column:
    """Read a one-dimensional numeric .npy array, which has no column to choose."""
    with path.open("rb") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        behind = len(file.read(1))
    if array.ndim != 1:
        raise OodgridError(f"{path}: has shape {array.shape}; give one number per sample, (N,)")
    if array.dtype.kind not in "fiu":
        raise OodgridError(f"{path}: has type {array.dtype}; scores must be integers or floats")
    if behind:
        raise OodgridError(f"{path}: has bytes behind its array of {array.size}: is it complete? One array a file")
    return Column(finite(array.astype(np.float64), path, "index", np.arange(array.size)))


def _read_parquet(path: Path, column: str | None, where: dict[str, str]) -> Column:
    """Read one numeric column of some rows of a .parquet file, without loading the others."""
    store.check_ours(path)  # a table of our own has a seal; anybody else's is taken as it is
    lazy = frames.scan_parquet(path)
    names = lazy.collect_schema().names()
    choices = [name for name in names if "dataset" not in names or name not in NOT_SCORES]
    if not choices:
        raise OodgridError(f"{path}: has no column of scores, only {', '.join(names) or 'none at all'}")
    name = choices[choose(choices, column, path)]
    for key in where:
        if key not in names:
            raise OodgridError(f"{path}: {unknown('column', key, names)}")
    keys = [key for key in KEYS if key in names]
    conditions = [pl.col(key).cast(pl.String) == value for key, value in where.items()]
    taken = lazy.filter(*conditions).select(*dict.fromkeys([*keys, name])).collect()
    if where and taken.is_empty():
        raise OodgridError(f"{path}: no row has {', '.join(f'{key}={value}' for key, value in where.items())}")
    _check_one_set(path, taken, keys)
    chosen = taken[name]
    if not chosen.dtype.is_numeric():
        raise OodgridError(f"{path}: column '{name}' has type {chosen.dtype}; scores must be numbers")
    scores = chosen.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return Column(finite(scores, path, "row", np.arange(1, len(scores) + 1)), name)


def _check_one_set(path: Path, taken: pl.DataFrame, keys: list[str]) -> None:
    """Refuse to take samples of several sets or fits for one."""
    if "dataset" not in keys:
        return
    several = [key for key in keys if taken[key].n_unique() > 1]
    if several:
        first = ",".join(f"{key}={taken[key][0]}" for key in keys)
        sets = "; ".join(f"{key}: {', '.join(map(str, taken[key].unique(maintain_order=True)[:8]))}" for key in several)
        raise OodgridError(f"{path}: holds several sets or fits ({sets}): choose one, as {path.name}@{first}")


def compare_files(
    id_path: str | Path,
    ood_path: str | Path,
    column: str | None = None,
    negate: bool = False,
    dialect: Dialect | None = None,
    say: Callable[[str], object] = lambda line: None,
    recalls: Sequence[float] = (),
) -> dict[str, float]:
    """Return the metrics and 95 % intervals of two score files, by their columns in metrics.parquet.

    Args:
        id_path: Scores of the ID samples.
        ood_path: Scores of the OOD samples.
        column: The column to take from both files, where they have several.
        negate: Whether the files hold scores that are higher for more out-of-distribution samples.
        dialect: How .csv files are written, where that is in doubt.
        say: Is given one line on what was read from each file.
        recalls: At which false-positive rates are wanted too, as .9.

    Raises:
        OodgridError: If `read_column` refuses a file, or a dialect is given and neither is a .csv.
    """
    return compare_each(id_path, [ood_path], column, negate, dialect, say, recalls)[0]


def compare_each(
    id_path: str | Path,
    ood_paths: Sequence[str | Path],
    column: str | None = None,
    negate: bool = False,
    dialect: Dialect | None = None,
    say: Callable[[str], object] = lambda line: None,
    recalls: Sequence[float] = (),
) -> list[dict[str, float]]:
    """Return what `compare_files` does of each of several OOD files; `say` is also given what is hardly meant.

    Raises:
        OodgridError: As `compare_files`, or an OOD file is named twice.
    """
    every = [id_path, *ood_paths]
    check_dialect(every, dialect)
    if twice := [path for path, count in Counter(map(str, ood_paths)).items() if count > 1]:
        raise OodgridError(f"OOD file {twice[0]} is named twice: take one out")
    sides = [read_column(path, column, dialect) for path in every]
    for side, path in zip(sides, every, strict=True):
        say(side.said(path))
    of_id, *of_ood = (-side.scores if negate else side.scores for side in sides)
    for path, scores in zip(ood_paths, of_ood, strict=True):
        if np.array_equal(np.sort(scores), np.sort(of_id)):
            say(f"{path} holds the same scores as {id_path}: is it the OOD file that is meant?")
    return [all_metrics(of_id, scores, recalls=recalls) for scores in of_ood]


def check_dialect(paths: Sequence[str | Path], dialect: Dialect | None) -> None:
    """Raise OodgridError where a dialect of .csv files is given, and no file is one."""
    if dialect and dialect.given and not any((_suffix(path) or "").startswith(".csv") for path in paths):
        raise OodgridError("--header, --no-header, --decimal and --separator are for .csv files: take them out")


def advice(rows: Sequence[dict[str, float]], negate: bool) -> str | None:
    """Return a hint where an AUROC below one half says that the scores have the other sign; None elsewhere."""
    below = sum(row["auroc"] < 0.5 for row in rows)
    if not below:
        return None
    mend = "drop --negate" if negate else "did you mean --negate?"
    of_rows = f" of {below} of {len(rows)} OOD files" if len(rows) > 1 else ""
    return f"AUROC{of_rows} is below 50 %: higher must mean more in-distribution; {mend}"


def _convention(name: str) -> str:
    """Return what a column is, in words; "" of a number of samples or the end of an interval."""
    recall = recall_in(name)
    if name in CONVENTIONS or recall is None:
        return CONVENTIONS.get(name, "")
    words = CONVENTIONS["fpr95_id_pos" if name.endswith("_id_pos") else "fpr95_ood_pos"]
    return words.replace("95", in_percent(recall))


def format_table(row: dict[str, float], negate: bool = False) -> str:
    """Return a small text table in percent that says each convention in words.

    Args:
        row: What `compare_files` returned.
        negate: Whether the scores were negated, for the hint on an AUROC below one half.
    """
    conventions = {name: words for name in row if (words := _convention(name))}
    width = max(map(len, conventions.values()))
    lines = [f"{row['n_id']:,} ID and {counted(int(row['n_ood']), 'OOD sample')}; percent [95 % interval]"]
    for name, words in conventions.items():
        line = f"{words:<{width}}  {100 * row[name]:6.2f}"
        if f"{name}_lo" in row:
            line += f"  [{100 * row[f'{name}_lo']:.2f}, {100 * row[f'{name}_hi']:.2f}]"
        lines.append(line)
    if hint := advice([row], negate):
        lines.append(hint)
    return "\n".join(lines)


def format_rows(names: Sequence[str], rows: Sequence[dict[str, float]], negate: bool = False) -> str:
    """Return a text table in percent with a row for each OOD file, and a line on what each column is.

    Args:
        names: Of the OOD files.
        rows: What `compare_each` returned.
        negate: Whether the scores were negated, for the hint on an AUROC below one half.
    """
    columns = [name for name in rows[0] if _convention(name)]
    ends = {f"{name}_lo" for name in columns} & set(rows[0])
    table = [["OOD file", "n", *columns]]
    for name, row in zip(names, rows, strict=True):
        cells = [
            f"{100 * row[column]:.2f}"
            + (f" [{100 * row[f'{column}_lo']:.2f}, {100 * row[f'{column}_hi']:.2f}]" if f"{column}_lo" in ends else "")
            for column in columns
        ]
        table.append([name, f"{row['n_ood']:,}", *cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"{counted(int(rows[0]['n_id']), 'ID sample')}; percent [95 % interval]"]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    lines += [f"{name}: {_convention(name)}" for name in columns]
    if hint := advice(rows, negate):
        lines.append(hint)
    return "\n".join(lines)
