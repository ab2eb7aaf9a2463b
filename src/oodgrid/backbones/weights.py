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
from oodgrid.counts import counted
from oodgrid.errors import OodgridError, one_line
from oodgrid.identity import file_sha256
from oodgrid.store import existing, no_memory, opened, read_bytes

if TYPE_CHECKING:
    import torch

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "ema_state_dict", "weights")  # keys of the dict
PREFIXES = ("module.", "model.", "net.", "clip.", "clip_model.")  # of all names, where training wrapped the whole model
BATCHES = "num_batches_tracked"
OFFLINE = "Offline? Fill the Hugging Face cache on a machine with network"  # behind what the hub failed with
INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")  # anywhere in names: torch.compile etc.


def check_hash(backbone: Backbone) -> None:
    """Compare a checkpoint with the `sha256` that the configuration gives.

    Raises:
        OodgridError: It is another, naming both.
    """
    file = backbone.weights_file
    if file and file.is_file() and backbone.sha256:
        sha256 = file_sha256(file)
        if sha256 != backbone.sha256:
            raise OodgridError(
                f"backbone {backbone.name}: {file} has sha256 {sha256}, but the config says {backbone.sha256}: "
                "restore the file, or mend the config and give the backbone another name"
            )


def read_state(file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint: .safetensors, or .pt with a state dict, bare or in one of `WRAPPERS`.

    Prefixes of names that come from training (`module.` of distributed training, `_orig_mod.` of torch.compile) are
    removed, and entries that are no tensors are left out; a line on stderr says so, and names the wrapper.

    Raises:
        OodgridError: It is anything else: a TorchScript archive, objects that only unpickling could make, a web page.
        MemoryError: It does not fit into the memory at hand.
    """
    content = load_tensors(file)
    state, path = _unwrapped(content) if isinstance(content, dict) else ({}, "")
    tensors = {name: values for name, values in state.items() if _is_tensor(values)}
    if not tensors:
        names = ", ".join(WRAPPERS)
        raise OodgridError(f"{file} holds no state dict of tensors, bare or under {names}: {_described(content)}")
    left = sorted(str(name)[:60] for name in state if name not in tensors)
    named = {_bare(name): name for name in tensors}
    prefix = _prefix(named)
    if len(named) < len(tensors):
        raise OodgridError(f"{file} holds one tensor twice, within and without a wrapper: save its state_dict() alone")
    remarks = [f"its tensors stand under {path}"] * bool(path) + [f"all names begin with {prefix}"] * bool(prefix)
    remarks += ["names hold marks of torch.compile or of sharding"] * (named.keys() != tensors.keys())
    if left:
        remarks.append(
            f"{counted(len(left), 'entry that is no tensor is', 'entries that are no tensors are')} left out, "
            f"the first: {left[0]}"
        )
    if remarks:
        print(f"oodgrid: {file.name}: {'; '.join(remarks)}", file=sys.stderr)
    return {name.removeprefix(prefix): tensors[full] for name, full in named.items()}


def load_tensors(file: Path) -> Any:
    """Return the content of a .safetensors or .pt file; nothing but tensors and plain values is unpickled.

    Raises:
        OodgridError: It cannot be read so; the message says what it is.
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
    except Exception as error:  # readers of zip, pickle and safetensors raise errors of many types
        if "allocate memory" in str(error):  # torch's RuntimeError
            raise no_memory(file) from error
        raise OodgridError(f"{file} holds no tensors that can be read without running code: {_why(error)}") from error


def refuse_no_weights(file: Path) -> None:
    """Refuse a file that has the name of weights and is something else, as a failed download leaves it.

    Raises:
        OodgridError: It is a pointer of git-LFS, a web page, JSON, or empty.
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


def _unwrapped(content: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the outermost dictionary that holds tensors, and the keys that lead to it, joined by points."""
    path: list[str] = []
    while not any(map(_is_tensor, content.values())):
        wrapper = next((name for name in WRAPPERS if isinstance(content.get(name), dict)), None)
        if wrapper is None:
            break
        content, path = content[wrapper], [*path, wrapper]
    return {str(name): values for name, values in content.items()}, ".".join(path)


def _bare(name: str) -> str:
    for mark in INNER:
        name = name.replace(mark, "")
    return name


def _is_tensor(thing: Any) -> bool:
    import torch

    return isinstance(thing, torch.Tensor)


def _prefix(names: Collection[str]) -> str:
    """Return the prefix that training put before all names."""
    prefix = ""
    while more := next((p for p in PREFIXES if all(name.startswith(prefix + p) for name in names)), None):
        prefix += more
    return prefix


def _described(content: Any) -> str:
    if isinstance(content, dict) and content:
        return f"it holds {', '.join(sorted(map(str, content)))[:100]}"
    return f"it holds a {type(content).__name__}"


def _why(error: Exception) -> str:
    message = one_line(error)
    if "TorchScript" in message:
        return "it is a TorchScript archive, which is a program: for OpenAI's weights write pretrained: openai"
    if "Weights only load failed" in message or "weights_only" in message:
        text = " ".join(str(error).split())
        match = re.search(r"GLOBAL (\S+)|Unsupported (?:operand|class) (\S+)|of type (\S+)", text)
        kind = next((name for name in match.groups() if name), "") if match else ""
        return f"it holds objects{f' ({kind})' if kind else ''} beside tensors: save its state_dict() alone"
    return "it is damaged, or no file of tensors"


@contextmanager
def _numpy_scalars() -> Iterator[None]:
    """Let torch read NumPy's scalars, as a best accuracy beside a state dict: plain numbers that run no code."""
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
    weights = model.state_dict()
    # Older checkpoints have buffers of position ids, which newer models compute.
    state = {name: values for name, values in state.items() if name in weights or not name.endswith("position_ids")}
    for names, what in ((weights.keys() - state, "lacks"), (state.keys() - weights, "has beyond the architecture")):
        if names:
            raise OodgridError(
                f"{file} {what} {counted(len(names), 'tensor')}, the first: {min(names)}: is it the right model?"
            )
    odd = [name for name in sorted(weights) if weights[name].shape != state[name].shape]
    if odd:
        shape, expected = tuple(state[odd[0]].shape), tuple(weights[odd[0]].shape)
        raise OodgridError(
            f"{file}: {counted(len(odd), 'tensor has', 'tensors have')} another shape, the first: {odd[0]} is "
            f"{shape} and should be {expected}: "
            "is it the right model?"
        )
    model.load_state_dict(state)


def in_order(state: dict[str, torch.Tensor], model: torch.nn.Module, file: Path) -> dict[str, torch.Tensor]:
    """Return a checkpoint under the names of a model, whose tensors come in the same order under other names.

    Each must have the shape of the model's, and the last word of its name, as `running_mean`: a batch norm has four
    tensors of one shape. Counts of batches, which decide nothing, may be absent.

    Raises:
        OodgridError: One has not, naming the first.
    """
    weights = model.state_dict()
    if len(state) != len(weights):
        state, weights = ({n: v for n, v in each.items() if _last(n) != BATCHES} for each in (state, weights))
    if len(state) != len(weights):
        raise OodgridError(
            f"{file} has {counted(len(state), 'tensor')} and the model {len(weights)}: match: order is not for it"
        )
    for (name, values), (of_model, expected) in zip(state.items(), weights.items(), strict=True):
        if values.shape != expected.shape or _last(name) != _last(of_model):
            raise OodgridError(
                f"{file} is not in the order of the model: {name} {tuple(values.shape)} stands where the model has "
                f"{of_model} {tuple(expected.shape)}: match: order is not for it"
            )
    renamed = dict(zip(weights, state.values(), strict=True))
    return {name: values for name, values in model.state_dict().items() if _last(name) == BATCHES} | renamed


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def state_sha256(model: torch.nn.Module) -> str:
    """Return a digest of the names, types, shapes and values of all weights."""
    hasher = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        hasher.update(name.encode() + json.dumps([str(values.dtype), list(values.shape)]).encode())
        hasher.update(values.detach().cpu().contiguous().numpy().tobytes())
    return hasher.hexdigest()
