"""How files and finished work are told apart: digests of content, fingerprints of code, comparisons of identities."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

# Of the ground floor: they decide numbers too.
SHARED = (
    "oodgrid.edge", "oodgrid.fewshot", "oodgrid.labels", "oodgrid.measures", "oodgrid.streams",
    "oodgrid.text_tower", "oodgrid.texts", "oodgrid.vectors",
)  # fmt: skip
IMPORTING = ("import_module", "__import__")  # functions that import
# By the names under which they are imported: libraries whose releases may change the last digits of a result.
LIBRARIES = {"numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn", "torch": "torch"}
FOR_READERS = ("title", "look", "paper", "family", "adapted")  # of what `oodgrid.registry` is told


def digest(thing: Any) -> str:
    """Return the sha256 of a JSON-able value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True, default=str).encode()).hexdigest()


def is_file(path: Path) -> bool:
    """Return whether there is such a file. Of a name too long for any, as a configuration may hold, there is none."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_there(path: Path) -> bool:
    """Return whether there is such a file or folder, likewise."""
    with suppress(OSError, ValueError):
        return path.exists()
    return False


def file_sha256(path: Path) -> str:
    """Return the digest of the bytes of a file, computed once a process while size and time stay the same."""
    status = path.stat()
    return _file_sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _file_sha256(path: Path, size: int, time: int) -> str:
    return sha256_now(path)


def sha256_now(path: Path) -> str:
    """Return the digest of the bytes of a file, read again whatever its size and time say."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_fingerprint(*modules: str) -> str:
    """Return a digest of what modules do, with all that they import of their own rooms and of what is `SHARED`.

    Comments, docstrings and what registration says to readers do not count. A package stands for all modules below it.
    """
    texts = [f"{file.parent.name}/{file.name}\0{_read(file)[0]}" for file in code_files(*modules)]
    return digest(sorted(texts))[:16]


@cache
def computing_fingerprint(*modules: str) -> str:
    """Return `code_fingerprint`, and of the `LIBRARIES` that this code imports the versions."""
    names = (name for file in code_files(*modules) for name in _read(file)[1])
    return code_fingerprint(*modules) + digest(library_versions(names))[:16]


def library_versions(imported: Iterable[str]) -> dict[str, str]:
    """Return the releases, as 2.1.3, of those `LIBRARIES` that are among imported dotted names."""
    names = sorted({name.split(".")[0] for name in imported} & LIBRARIES.keys())
    return {name: release for name in names if (release := _release(LIBRARIES[name]))}


@cache
def _release(library: str) -> str:
    try:
        return re.split(r"[^\d.]", version(library))[0].strip(".")  # 2.1.3+cu124 computes as 2.1.3 does
    except PackageNotFoundError:
        return ""


def code_files(*modules: str) -> set[Path]:
    """Return the files whose code `code_fingerprint` digests."""
    pending, files = list(modules), set()
    while pending:
        for file, package in _sources(pending.pop()):
            if file not in files:
                files.add(file)
                names = _read(file)[1]
                absolute = [resolve_name(name, package) if name.startswith(".") else name for name in names]
                pending += [name for name in absolute if _followed(name, modules)]
    return files


@cache
def _sources(module: str) -> list[tuple[Path, str]]:
    """Return the files of a module, or of all modules below a package, each with the package that it belongs to.

    They are searched for by name: `find_spec` would import the packages above, and what those import.
    """
    top, *parts = module.split(".")
    try:
        spec = find_spec(top)
    except ValueError:  # as of __main__
        return []
    if spec is None or spec.origin is None:
        return []
    place = Path(spec.origin).parent.joinpath(*parts) if spec.submodule_search_locations else Path(spec.origin)
    if not (place / "__init__.py").is_file():
        file = place if not spec.submodule_search_locations else place.with_name(f"{place.name}.py")
        # `from package import name` names functions as well as modules
        return [(file, module.rpartition(".")[0])] if file.is_file() else []
    files = sorted(place.rglob("*.py"))
    return [(file, ".".join([module, *file.parent.relative_to(place).parts])) for file in files]


def _read(file: Path) -> tuple[str, list[str]]:
    """Return the code of a file without comments and docstrings, and what it imports."""
    status = file.stat()
    return _parse(file, status.st_size, status.st_mtime_ns)


@cache
def _parse(file: Path, size: int, time: int) -> tuple[str, list[str]]:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    by_call = any(name in text for name in IMPORTING)  # then expressions are looked at too, ten times as many
    names = imported_names(ast.walk(tree) if by_call else _statements(tree))
    return ast.unparse(_decisive(tree)), names


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements within a module or a statement, at any depth, and the branches that they stand in."""
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        for each in getattr(node, part, ()):
            yield each
            yield from _statements(each)


def imported_names(nodes: Iterable[ast.AST]) -> list[str]:
    """Return the dotted names of all that the nodes of a syntax tree import; relative ones begin with their dots.

    `from a import b` gives a and a.b, which may be a module. `import_module` and `__import__` count where the name
    stands there as a literal.
    """
    names: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names += [base, *(f"{base}{'.' * bool(node.module)}{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in IMPORTING and isinstance(node.args[0].value, str):
                names.append(node.args[0].value)
    return names


def _followed(name: str, modules: tuple[str, ...]) -> bool:
    rooms = {".".join(module.split(".")[:2]) for module in modules}
    room = ".".join(name.split(".")[:2])
    return room in SHARED or (room in rooms and name != room)


def _decisive(tree: ast.Module) -> ast.Module:
    """Return code without docstrings, and without what the registration of a method or score tells readers alone."""
    for node in [tree, *_statements(tree)]:
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        for call in getattr(node, "decorator_list", ()):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("method", "score"):
                call.keywords = [keyword for keyword in call.keywords if keyword.arg not in FOR_READERS]
    return tree


def differences(value: Any, expected: Any, name: str = "") -> list[str]:
    """Return one line for every field of `expected` that is another in `value`, naming both."""
    if isinstance(value, dict) and isinstance(expected, dict):
        keys = [key for key in expected if key in value or expected[key] is not None]
        prefix = f"{name}." if name else ""
        return [line for key in keys for line in differences(value.get(key), expected[key], f"{prefix}{key}")]
    return (
        []
        if value == expected
        else [f"{name} is {json.dumps(value)} in the file and {json.dumps(expected)} in the config"]
    )
