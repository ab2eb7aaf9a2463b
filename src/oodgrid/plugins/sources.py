"""Which files decide the numbers of a plugin: itself, local ones that it imports, and those that it names.

Local is what belongs neither to Python, nor to an installed package, nor to this one. What a file imports is read from
its text, in functions too; what it has imported by other ways, when it was loaded, counts as well. A file that is named
by a literal, beside the code or below the working directory, counts by its bytes. What only a computed name leads to,
later than at loading, is not seen.
"""

from __future__ import annotations

import ast
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

from oodgrid.errors import OodgridError
from oodgrid.identity import code_fingerprint, digest, file_sha256, imported_names, library_versions

ROOMS = ("encode", "adapt", "score", "evaluate", "report")
_LOADED: dict[Path, set[str]] = {}  # the modules that were new when a plugin was loaded


def fingerprint(file: Path) -> str:
    """Return a digest of all that decides the numbers of a plugin: local files, wherever they lie, and libraries."""
    files = local_files(file)
    names = {name for each in files for name, _ in _imports(each)}
    rooms = sorted(name for name in names if name.split(".")[1:2] and _of_room(name))
    ours = code_fingerprint(*rooms) if rooms else ""
    return digest([ours, library_versions(names), sorted([each.name, file_sha256(each)] for each in files)])[:16]


def local_files(file: Path) -> set[Path]:
    """Return the plugin's file and all local ones that it imports or names, and those that these do."""
    modules = [sys.modules.get(name) for name in _LOADED.get(file.resolve(), ())]
    also = [Path(origin) for module in modules if (origin := getattr(module, "__file__", None))]
    pending, files = [file.resolve(), *filter(_is_local, also)], set()
    while pending:
        each = pending.pop().resolve()
        if each not in files:
            files.add(each)
            pending += [part for name, folder in _imports(each) for part in _located(name, folder)]
            pending += _named(each)
    return files


def remember(file: Path, modules: Iterable[str]) -> None:
    """Record the modules that loading a plugin has imported, in whatever way."""
    _LOADED.setdefault(file.resolve(), set()).update(modules)


def check_names(file: Path) -> None:
    """Refuse a plugin that imports a file beside it but got another module of the same name.

    Raises:
        OodgridError: It imports a file beside it, and another was imported by that name before.
    """
    for each in local_files(file):
        for name, folder in _imports(each):
            top = name.split(".")[0]
            beside = [each.parent / f"{top}.py", each.parent / top / "__init__.py"]
            origin = getattr(sys.modules.get(top), "__file__", None)
            if folder is None and origin and not _is_ours(top) and _is_local(Path(origin)):
                there = [path for path in beside if path.is_file()]
                if there and Path(origin).resolve() not in [path.resolve() for path in there]:
                    raise OodgridError(
                        f"plugin {file}: import {top} gives {origin}, and {there[0]} has its name: rename one of them"
                    )


def _imports(file: Path) -> list[tuple[str, Path | None]]:
    """Return the names that a file imports, each with the folder where to look, or None for wherever Python looks."""
    tree = _tree(file, file.stat().st_mtime_ns)
    imports: list[tuple[str, Path | None]] = []
    for name in imported_names(ast.walk(tree)) if tree else ():
        level = len(name) - len(name.lstrip("."))
        folder = file.parents[level - 1] if 0 < level <= len(file.parents) else None
        imports += [(name.lstrip("."), folder)] if name.strip(".") else []
    return imports


@cache
def _tree(file: Path, time: int) -> ast.Module | None:
    if file.suffix != ".py":
        return None
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.parse(file.read_bytes())
    return None


def _located(name: str, folder: Path | None) -> Iterator[Path]:
    """Yield the local files that importing a dotted name runs; parts that are no modules are names within one."""
    if folder is None and (_is_ours(name) or name.split(".")[0] in sys.stdlib_module_names):
        return
    places = None if folder is None else [str(folder)]
    for part in name.split("."):
        if part == "*":
            modules = [module for place in places or () for module in Path(place).glob("*.py")]
            yield from filter(_is_local, modules)
            return
        spec = _spec(part, places)
        if spec is None:
            return
        if spec.has_location and spec.origin and _is_local(Path(spec.origin)):
            yield Path(spec.origin)
        places = spec.submodule_search_locations
        if places is None:
            return


def _spec(name: str, places: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        with suppress(Exception):  # of somebody else
            if spec := finder.find_spec(name, places):
                return spec
    return None


def _named(file: Path) -> Iterator[Path]:
    """Yield the files that literals of the code name: alone, or joined by `/` or a function called join or joinpath."""
    tree = _tree(file, file.stat().st_mtime_ns)
    for node in ast.walk(tree) if tree else ():
        text = "/".join(_literals(node))
        if 0 < len(text) < 1000 and text.isprintable():
            for folder in (file.parent, Path.cwd()):
                with suppress(OSError, ValueError):
                    if (folder / text).is_file():
                        yield folder / text


def _literals(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _literals(node.left) + _literals(node.right)
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith("join"):
        return [text for argument in node.args for text in _literals(argument)]
    return []


@cache
def _installed() -> tuple[Path, ...]:
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_path(kind) for kind in kinds] + site.getsitepackages() + [site.getusersitepackages()]
    return tuple({Path(folder).resolve() for folder in folders})


def _is_local(file: Path) -> bool:
    whole = file.resolve()
    ours = Path(__file__).parents[1]
    return whole.is_file() and not any(whole.is_relative_to(folder) for folder in (*_installed(), ours))


def _is_ours(name: str) -> bool:
    return name.split(".")[0] == "oodgrid"


def _of_room(name: str) -> bool:
    return _is_ours(name) and name.split(".")[1] in ROOMS
