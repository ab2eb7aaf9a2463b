"""How files and finished work are told apart: digests of content, fingerprints of code, comparisons of identities."""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def digest(thing: Any) -> str:
    """Return the sha256 of a JSON-able value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(thing, sort_keys=True, default=str).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the digest of the bytes of a file, computed once a process while size and time stay the same."""
    found = path.stat()
    return _file_sha256(path, found.st_size, found.st_mtime_ns)


@cache
def _file_sha256(path: Path, size: int, time: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_fingerprint(*modules: str) -> str:
    """Return a digest of what modules do, with all that they import of their own rooms and of the few-shot reader.

    Comments and docstrings do not count. A package stands for every module below it.
    """
    pending, found = list(modules), {}
    while pending:
        module = pending.pop()
        for file in _sources(module):
            if file not in found:
                tree = ast.parse(file.read_text(encoding="utf-8"))
                found[file] = ast.unparse(_without_docstrings(tree))
                pending += [name for name in _imports(tree) if _followed(name, modules)]
    texts = sorted(f"{file.parent.name}/{file.name}\0{code}" for file, code in found.items())
    return digest(texts)[:16]


def _sources(module: str) -> list[Path]:
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # `from package import name` names functions as well as modules
        return []
    if spec is None or spec.origin is None:
        return []
    origin = Path(spec.origin)
    return sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]


def _imports(tree: ast.Module) -> list[str]:
    lines = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return [name for line in lines for name in (line.module, *(f"{line.module}.{a.name}" for a in line.names))]


def _followed(name: str, modules: tuple[str, ...]) -> bool:
    rooms = {".".join(module.split(".")[:2]) for module in modules}
    room = ".".join(name.split(".")[:2])
    return name in ("oodgrid.fewshot", "oodgrid.labels") or (room in rooms and name != room)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Return one line for every field of `wanted` that `found` has otherwise, naming both values."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in wanted if key in found or wanted[key] is not None]
        return [
            line for key in keys for line in differences(found.get(key), wanted[key], f"{name}.{key}" if name else key)
        ]
    same = found == wanted
    return [] if same else [f"{name} is {json.dumps(found)} in the file and {json.dumps(wanted)} in the config"]
