"""Kept work (results/kept): its size, what uses it, and removing what is unused.

A piece of kept work is in use where a manifest names it, or where it is what a feature file, a text file or a table of
scores was made of. Of two names of one file (hard links), as those of encoded features, the bytes count once.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TypeVar

from oodgrid import config, grid, manifests, paths, plan, store
from oodgrid.config import ANY, Experiment
from oodgrid.errors import OodgridError
from oodgrid.identity import computing_fingerprint
from oodgrid.kept import Kept

ENCODED = "features and texts"  # who uses what encode keeps, whatever the experiment
ANSWERS = "answers of language models"  # were paid for, and no manifest names them
STAGES = ("encode", "views", "labels", "fit", "apply", "score", "evaluate")
LONG = ("encode", "views", "fit")  # what takes hours to make, and stays where an experiment is not finished
K = TypeVar("K")


@dataclass(frozen=True)
class Piece:
    """One file of kept work.

    Attributes:
        path: Where it lies.
        stage: Whose it is.
        size: In bytes.
        file: What tells it from other files, whatever its names.
        links: How many names it has.
        users: Experiments, or `ENCODED`, or `ANSWERS`.
    """

    path: Path
    stage: str
    size: int
    file: tuple[int, int]
    links: int
    users: frozenset[str]


@dataclass
class Usage:
    """All kept work of a results folder.

    Attributes:
        pieces: Every file, by its path.
        remarks: What a person should know who removes some, each a line.
    """

    pieces: list[Piece] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def unused(self) -> list[Piece]:
        """Return the files that are not in use."""
        return [piece for piece in self.pieces if not piece.users]


def size(pieces: Iterable[Piece]) -> int:
    """Return the bytes of some files, those of two names once."""
    return sum({piece.file: piece.size for piece in pieces}.values())


def freed(pieces: Iterable[Piece]) -> int:
    """Return the bytes that become free where these names of files go: of those that have no other."""
    names: dict[tuple[int, int], list[Piece]] = {}
    for piece in pieces:
        names.setdefault(piece.file, []).append(piece)
    return sum(those[0].size for those in names.values() if len(those) >= those[0].links)


def look(results: Path) -> Usage:
    """Return all kept work of a results folder, and who uses it.

    Raises:
        OodgridError: There is no such folder; or a manifest, or a file that may have been made of kept work, is
            damaged, so that it is unknown what it uses.
    """
    if not results.is_dir():
        raise OodgridError(f"there is no folder {results}: name that of the results by --results")
    usage = Usage()
    experiments = _experiments(results)
    named = _named(results, experiments)
    unfinished = [line for experiment in experiments for line in _unfinished(results, experiment)]
    for stage in sorted(path.name for path in (results / paths.KEPT).glob("*") if path.is_dir()):
        stays = {f"the next run of {line}" for line in unfinished} if stage in LONG else set()
        other = {"not of oodgrid"} if stage not in STAGES else set()
        for path in _files(paths.kept(results, stage)):
            users = {ANSWERS} if stage == "labels" else named.of(path) or stays or other
            about = path.stat()
            usage.pieces.append(Piece(path, stage, about.st_size, _file(path), about.st_nlink, frozenset(users)))
    usage.remarks += [f"{line} is not finished: what encoding and fitting kept stays" for line in unfinished]
    if (results / paths.KEPT).is_symlink():
        usage.remarks.append(f"{results / paths.KEPT} is a link: other results folders that use it are not looked at")
    return usage


def remove(pieces: Iterable[Piece]) -> None:
    """Remove files of kept work, and folders that become empty."""
    for piece in pieces:
        piece.path.unlink(missing_ok=True)
        for folder in piece.path.parents:
            if folder.parent.name == paths.KEPT:  # that of the stage
                break
            with suppress(OSError):  # it holds other work
                folder.rmdir()


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):  # no links to folders: what lies behind them is not ours to remove
        yield from (path for name in sorted(names) if not (path := Path(place, name)).is_symlink())


def _experiments(results: Path) -> list[str]:
    """Return the folders of experiments."""
    folders = (path for path in results.glob("*") if path.is_dir() and path.name not in paths.SHARED)
    return sorted(path.name for path in folders if not path.name.startswith("."))


def _unfinished(results: Path, experiment: str) -> Iterator[str]:
    """Yield why an experiment, by the configuration that planned it last, may take up again what no manifest names."""
    configs = _there(results, paths.planned, experiment=experiment)
    planned = sorted(configs, key=lambda path: path.stat().st_mtime_ns)
    if not planned:
        return
    try:
        latest = config.load(planned[-1])
        if plan.is_redrawn(results, latest):
            return
        files = [*plan.encoded_files(results, latest), *_fitted(results, latest)]
    except OodgridError:
        yield f"{experiment} ({planned[-1]} cannot be read)"
        return
    if gone := next((file for file in files if not file.exists()), None):
        yield f"{experiment} ({gone} is missing)"


def _fitted(results: Path, experiment: Experiment) -> Iterator[Path]:
    """Yield the manifests of all fits: where one is missing, fits that a killed job finished are named by none."""
    for backbone, dataset in product(experiment.backbones, experiment.id_datasets):
        for method in grid.methods(experiment):
            if method != ANY:
                yield paths.fitted(results, experiment.experiment, backbone.name, dataset.name, method)


@dataclass
class _Named:
    """The users of kept files, by what names them.

    Attributes:
        files: Names of kept files, with the experiments that name them.
        parts: Parts of tables of scores, and what decides their rows, likewise.
        tables: Files, whatever their names, that are tables of scores, likewise.
        heads: First bytes of feature and text files, which hold the checksums of all others.
        views: Kept folders of the views that files hold.
    """

    results: Path
    files: dict[str, set[str]] = field(default_factory=dict)
    parts: dict[str, set[str]] = field(default_factory=dict)
    tables: dict[tuple[int, int], set[str]] = field(default_factory=dict)
    heads: set[bytes] = field(default_factory=set)
    views: set[Path] = field(default_factory=set)
    code: str = field(default_factory=lambda: computing_fingerprint("oodgrid.evaluate"))

    def of(self, path: Path) -> set[str]:
        """Return who uses a kept file."""
        stage = path.relative_to(self.results / paths.KEPT).parts[0]
        if stage == "encode":
            return {ENCODED} if path.suffix == ".h5" and _head(path) in self.heads else set()
        if stage == "views":
            return {ENCODED} if path.parent in self.views else set()
        if users := self.files.get(path.relative_to(self.results).as_posix()) or self.tables.get(_file(path)):
            return users
        with suppress(OodgridError):  # what is damaged counts as not there
            if stage == "score" and path.parent.name != "parts":
                return self._of_all(manifests.read(path, manifests.ScoreTable).parts)
            if stage == "evaluate":
                work: manifests.Spreads | manifests.PairMetrics = (
                    manifests.read(path, manifests.Spreads)
                    if path.suffix == ".parquet"
                    else manifests.read(path, manifests.PairMetrics)
                )
                return self._of_all(work.parts) if work.code == self.code else set()
        return set()

    def _of_all(self, parts: Iterable[str]) -> set[str]:
        """Return who names every one of some parts."""
        users = [self.parts.get(part, set()) for part in parts]
        return set.intersection(*users) if users else set()


def _named(results: Path, experiments: list[str]) -> _Named:
    """Return what the files of a results folder name.

    Raises:
        OodgridError: One is damaged.
    """
    named = _Named(results)
    for experiment in experiments:
        for path in _there(results, paths.fitted, experiment=experiment):
            files = [fit.file for fit in manifests.read(path, manifests.Fitted).fits if fit.file]
            _add(named.files, files, experiment)
        for path in _there(results, paths.applied, experiment=experiment):
            for fit in manifests.read(path, manifests.Applied).fits:
                _add(named.files, fit.files, experiment)
        for path in _there(results, paths.scores, experiment=experiment):  # of streams too
            scored = manifests.read(path, manifests.ScoreTable)
            parts = scored.parts
            _add(named.parts, parts | {rows for fit in scored.fits for rows in fit.rows.values()}, experiment)
            _add(named.files, parts, experiment)  # version 1 names the files of parts
            _add(named.tables, [_file(path)], experiment)
    encoded = (paths.features, paths.texts, paths.label_texts)  # of views and of shuffled prompts too
    for path in (path for kind in encoded for path in _there(results, kind)):
        about = store.read_provenance(path)
        named.heads.add(_head(path))
        _add(named.files, about.get("parts", ()), ENCODED)  # of pseudo-OOD texts
        if "views" in about:
            named.views.add(Kept(results, "views").place(about))
    return named


def _there(results: Path, kind: Callable[..., Path], **names: str) -> list[Path]:
    """Return all files of a kind, a function of `paths`; folders on the way may be links, which ** would not follow."""
    needed = (name for name, about in inspect.signature(kind).parameters.items() if about.default is about.empty)
    every = {name: names.get(name, "*") for name in needed}
    return sorted(results.glob(str(kind(**every | {"results": Path()}))))


def _add(table: dict[K, set[str]], names: Iterable[K], user: str) -> None:
    for name in names:
        table.setdefault(name, set()).add(user)


def _file(path: Path) -> tuple[int, int]:
    """Return what tells a file from others, whatever its names."""
    about = path.stat()
    return about.st_dev, about.st_ino


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(store.USER_BLOCK)
