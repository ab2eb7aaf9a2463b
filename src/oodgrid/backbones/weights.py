"""Weights in files: hashed, checked and read without unpickling anything but tensors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from oodgrid.config import Backbone
from oodgrid.errors import OodgridError
from oodgrid.identity import file_sha256

if TYPE_CHECKING:
    import torch


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
    """Return the tensors of a checkpoint: .safetensors, or .pt with a state dict, bare or under `state_dict`.

    The prefix `module.` of distributed training is taken off.

    Raises:
        OodgridError: It holds anything else: a TorchScript archive, or objects that only unpickling could make.
    """
    import torch

    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "TorchScript" in said:
            said = "it is a TorchScript archive, which is a program: for OpenAI's weights write pretrained: openai"
        raise OodgridError(f"{file} holds no tensors that can be read without running code: {said[:150]}") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not state or not all(isinstance(values, torch.Tensor) for values in state.values()):
        raise OodgridError(f"{file} holds no state dict of tensors, bare or under 'state_dict'")
    return {name.removeprefix("module."): values for name, values in state.items()}


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
