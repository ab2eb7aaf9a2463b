"""Checkpoints as people have them: wrapped, marked, beside other things, or no checkpoints at all."""

from __future__ import annotations

import argparse
import io
import zipfile

import numpy as np
import pytest

from oodgrid.backbones.weights import read_state
from oodgrid.errors import OodgridError
from tests.failing import failure

torch = pytest.importorskip("torch")

STATE = {"visual.proj": torch.arange(6.0).reshape(2, 3), "logit_scale": torch.tensor(4.6)}


def saved(tmp_path, thing, name="w.pt"):
    torch.save(thing, tmp_path / name)
    return tmp_path / name


def prefixed(prefix):
    return {f"{prefix}{name}": values for name, values in STATE.items()}


WHOLE = {
    "bare": (STATE, None),
    "state_dict": ({"state_dict": STATE, "epoch": 3}, "its tensors stand under state_dict"),
    "nested": ({"model": {"state_dict": STATE}}, "under model.state_dict"),
    "module": (prefixed("module."), "all names begin with module."),
    "compiled": (prefixed("_orig_mod."), "torch.compile"),
    "both": ({"state_dict": prefixed("module._orig_mod.")}, "all names begin with module.; names hold marks"),
    "the other way": (prefixed("_orig_mod.module."), "all names begin with module."),
    "lightning": (
        {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.0"},
        "all names begin with model.",
    ),
    "one part compiled": (
        {"visual._orig_mod.proj": STATE["visual.proj"], "logit_scale": STATE["logit_scale"]},
        "torch.compile",
    ),
    "numpy scalars": ({"state_dict": STATE, "best_acc": np.float64(0.8), "epoch": np.int64(3)}, "under state_dict"),
    "numbers beside": ({**STATE, "epoch": 3, "best": np.float32(0.5)}, "2 entries that are no tensors are left out"),
}


@pytest.mark.parametrize(("thing", "said"), WHOLE.values(), ids=WHOLE)
def test_wrappers_are_taken_off_and_said(tmp_path, capfd, thing, said):
    found = read_state(saved(tmp_path, thing))
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    line = capfd.readouterr().err
    assert (line == "") if said is None else (said in line and line.startswith("oodgrid: w.pt: "))


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "b")
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605157884\n"
NONE = {
    "lfs": (LFS, "is a pointer of git-LFS, and not the file itself: run git lfs pull"),
    "html": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
    "html in capitals": (b"\xef\xbb\xbf\r\n <HTML><head>", "is a web page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "json": (b'{"error": "not found"}', "is JSON"),
    "empty": (b"", "is empty: fetch it again"),
    "text": (b"hello world, this is a text", "without running code: "),
    "zeros": (bytes(1000), "without running code: "),
    "another zip": (zipped(), "without running code: "),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("data", "said"), NONE.values(), ids=NONE)
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, suffix, data, said):
    file = tmp_path / f"w{suffix}"
    file.write_bytes(data)
    line = failure(read_state, file)
    if not (suffix == ".safetensors" and data.startswith(b"{")):
        assert said in line


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        ({}, "holds no state dict of tensors"),
        ([STATE], "it holds a list"),
        (torch.ones(3), "it holds a Tensor"),
        ({"optimizer": {"lr": 0.1}, "epoch": 3}, "it holds epoch, optimizer"),
        ({"state_dict": {}, "epoch": 3}, "holds no state dict"),
        ({"state_dict": STATE, "args": argparse.Namespace(lr=1)}, "objects (argparse.Namespace) beside tensors"),
        ({**STATE, **prefixed("_orig_mod.")}, "one tensor twice"),
    ],
)
def test_what_holds_no_tensors_of_a_model_is_one_line(tmp_path, thing, said):
    assert said in failure(read_state, saved(tmp_path, thing))


def test_a_whole_model_is_refused(tmp_path):
    with pytest.raises(OodgridError, match=r"holds objects .*save its state_dict\(\) alone"):
        read_state(saved(tmp_path, torch.nn.Linear(2, 2)))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes")]
)
def test_too_little_memory_is_no_damage(tmp_path, monkeypatch, error):
    def none(*given, **more):
        raise error

    monkeypatch.setattr(torch, "load", none)
    with pytest.raises(MemoryError, match="does not fit into the memory at hand"):
        read_state(saved(tmp_path, STATE))
