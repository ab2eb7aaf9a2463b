"""Weights in files: hashed, checked and read without unpickling anything but tensors."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oodgrid.config import Backbone
from oodgrid.errors import OodgridError, one_line
from oodgrid.identity import file_sha256
from oodgrid.store import existing, no_memory, opened, read_bytes

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "ema_state_dict", "weights")  # hold the tensors
PREFIXES = ("module.", "model.", "net.", "clip.", "clip_model.")  # what a whole model stood in while it was trained
INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")  # torch.compile and the like, anywhere


def check_hash(backbone: Backbone) -> None:
    """Compare a checkpoint with the `sha256` that the configuration gives.

    Raises:
        OodgridError: It is another, naming both.
    """
    file = backbone.weights_file
    if file and file.is_file() and backbone.sha256:
        found = file_sha256(file)
        if found != backbone.sha256:
            raise OodgridError(
                f"backbone {backbone.name}: {file} has sha256 {found}, but the config says {backbone.sha256}: "
                "restore the file, or mend the config and give the backbone another name"
            )


def read_state(file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint: .safetensors, or .pt with a state dict, bare or in one of `WRAPPERS`.

    What training puts in front of all names (`module.` of distributed training, `_orig_mod.` of torch.compile) is taken
    off. What is no tensor and stands beside them is left; that and the wrapper are said on one line.

    Raises:
        OodgridError: It holds anything else: a TorchScript archive, objects that unpickling alone could make, a page.
        MemoryError: It does not fit into the memory at hand.
    """
    found = load_tensors(file)
    state, path = _unwrapped(found) if isinstance(found, dict) else ({}, "")
    tensors = {name: values for name, values in state.items() if _is_tensor(values)}
    if not tensors:
        names = ", ".join(WRAPPERS)
        raise OodgridError(f"{file} holds no state dict of tensors, bare or under {names}: {_described(found)}")
    left = sorted(str(name)[:60] for name in state if name not in tensors)
    named = {_bare(name): name for name in tensors}
    prefix = _prefix(named)
    if len(named) < len(tensors):
        raise OodgridError(f"{file} holds one tensor twice, within and without a wrapper: save its state_dict() alone")
    said = [f"its tensors stand under {path}"] * bool(path) + [f"all names begin with {prefix}"] * bool(prefix)
    said += ["names hold marks of torch.compile or of sharding"] * (named.keys() != tensors.keys())
    said += [f"{len(left)} entries that are no tensors are left out, the first: {min(left, default='')[:60]}"] * bool(
        left
    )
    if said:
        print(f"oodgrid: {file.name}: {'; '.join(said)}", file=sys.stderr)
    return {name.removeprefix(prefix): tensors[full] for name, full in named.items()}


def load_tensors(file: Path) -> Any:
    """Return what a .safetensors or .pt file holds; nothing but tensors and plain values is unpickled.

    Raises:
        OodgridError: It cannot be read so, in words that say what it is.
        MemoryError: It does not fit into the memory at hand.
    """
    import torch

    refuse_no_weights(existing(file))
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load

            return load(read_bytes(file))
        with _numpy_scalars():
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise no_memory(file) from error
    except Exception as error:  # zip, pickle and safetensors readers each fail in their own ways
        if "allocate memory" in str(error):  # which torch says in a RuntimeError
            raise no_memory(file) from error
        raise OodgridError(f"{file} holds no tensors that can be read without running code: {_why(error)}") from error


def refuse_no_weights(file: Path) -> None:
    """Refuse what stands under the name of a file of weights and is something else, naming what it is.

    Raises:
        OodgridError: It is a pointer of git-LFS, a web page, JSON or another text, or empty.
    """
    with opened(file) as raw:
        head = raw.read(512)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        what, mend = "is empty", "fetch it again"
    elif text.startswith(b"version https://git-lfs"):
        what, mend = "is a pointer of git-LFS, and not the file itself", "run git lfs pull where it came from"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")):
        what, mend = "is a web page, saved under that name", "fetch the file itself (perhaps a login is needed)"
    elif text.startswith(b"{") and file.suffix != ".safetensors":
        what, mend = "is JSON, as servers answer instead of a file", "fetch the file itself"
    else:
        return
    raise OodgridError(f"{file} {what}: {mend}")


def _unwrapped(found: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the outermost dictionary that holds tensors, and under what names it stands."""
    path: list[str] = []
    while not any(map(_is_tensor, found.values())):
        inner = next((name for name in WRAPPERS if isinstance(found.get(name), dict)), None)
        if inner is None:
            break
        found, path = found[inner], [*path, inner]
    return {str(name): values for name, values in found.items()}, ".".join(path)


def _bare(name: str) -> str:
    for mark in INNER:
        name = name.replace(mark, "")
    return name


def _is_tensor(thing: Any) -> bool:
    import torch

    return isinstance(thing, torch.Tensor)


def _prefix(names: Collection[str]) -> str:
    """Return what training put in front of all names."""
    prefix = ""
    while more := next((p for p in PREFIXES if all(name.startswith(prefix + p) for name in names)), None):
        prefix += more
    return prefix


def _described(found: Any) -> str:
    if isinstance(found, dict) and found:
        return f"it holds {', '.join(sorted(map(str, found)))[:100]}"
    return f"it holds a {type(found).__name__}"


def _why(error: Exception) -> str:
    said = one_line(error)
    if "TorchScript" in said:
        return "it is a TorchScript archive, which is a program: for OpenAI's weights write pretrained: openai"
    if "Weights only load failed" in said or "weights_only" in said:
        text = " ".join(str(error).split())
        found = re.search(r"GLOBAL (\S+)|Unsupported (?:operand|class) (\S+)|of type (\S+)", text)
        what = next((name for name in found.groups() if name), "") if found else ""
        return f"it holds objects{f' ({what})' if what else ''} beside tensors: save its state_dict() alone"
    return "it is damaged, or no file of tensors"


@contextmanager
def _numpy_scalars() -> Iterator[None]:
    """Let torch read NumPy's scalars, as of a best accuracy beside a state dict: plain numbers that run nothing."""
    import numpy as np
    import torch

    make = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in "?bhilqBHILQefd"]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")  # of both generations of NumPy
    with torch.serialization.safe_globals([*((make, name) for name in names), np.dtype, *kinds]):
        yield


def fit_state(model: torch.nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    """Load a state dict into a model.

    Raises:
        OodgridError: Names or shapes do not fit, naming the first and how many there are.
    """
    wanted = model.state_dict()
    # buffers that older checkpoints carry and newer models compute
    state = {name: values for name, values in state.items() if name in wanted or not name.endswith("position_ids")}
    for names, what in ((wanted.keys() - state, "lacks"), (state.keys() - wanted, "has beyond the architecture")):
        if names:
            raise OodgridError(f"{file} {what} {len(names)} tensors, the first: {min(names)}: is it the right model?")
    odd = [name for name in sorted(wanted) if wanted[name].shape != state[name].shape]
    if odd:
        was, is_now = tuple(state[odd[0]].shape), tuple(wanted[odd[0]].shape)
        raise OodgridError(
            f"{file}: {len(odd)} tensors have another shape, the first: {odd[0]} is {was} and should be {is_now}: "
            "is it the right model?"
        )
    model.load_state_dict(state)


def state_sha256(model: torch.nn.Module) -> str:
    """Return a digest of the names, types, shapes and values of all weights."""
    hasher = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        hasher.update(name.encode() + json.dumps([str(values.dtype), list(values.shape)]).encode())
        hasher.update(values.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()
