"""benchmarks/scale.py, small: what it runs, not how long that takes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytorch_ood")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PEERS = {
    "activated_neg_postprocessor": "ActivatedNegPostprocessor",
    "ttaprompt_postprocessor": "TTAPromptPostprocessor",
}
PEER = """
class {name}:
    def __init__(self, config):
        self.beta = config.postprocessor.postprocessor_args.beta

    def postprocess(self, net, data):
        features, texts, scale = net(data, return_feat=True)
        assert features.dtype == texts.dtype and len(texts) > net.n_cls == len(net.text_features.T) - 60
        return None, scale * features @ texts.T
"""


def run(tmp_path, *words):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in BENCHMARKS.glob("*.json"))
    command = [sys.executable, str(BENCHMARKS / "scale.py"), "--small", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert before == sorted((path.name, path.stat().st_mtime_ns) for path in BENCHMARKS.glob("*.json"))
    return done


def measured(tmp_path, part, *words):
    file = tmp_path / f"{part}.json"
    run(tmp_path, "--only", part, "--child", str(file), *words)
    return json.loads(file.read_text(encoding="utf-8"))


def test_products_by_numpy_and_by_torch(tmp_path):
    done = run(tmp_path, "--only", "products")
    assert "features x bank: knn" in done.stdout


@pytest.fixture
def streams(monkeypatch):
    """The module of the benchmark; what it imports goes with it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("streams")
    for name in [name for name in sys.modules if name in ("streams", "made", "timing") or name.startswith("openood")]:
        del sys.modules[name]


def test_the_authors_classes_are_run_from_the_checkout_that_is_named(tmp_path, streams):
    from made import SMALL

    with pytest.raises(SystemExit, match="name a checkout of YBZh/OpenOOD-VLM"):
        streams.theirs("tanl", SMALL, tmp_path)
    folder = tmp_path / "openood" / "postprocessors"
    folder.mkdir(parents=True)
    for module, name in PEERS.items():
        (folder / f"{module}.py").write_text(PEER.format(name=name), encoding="utf-8")
    assert streams.theirs("tanl", SMALL, tmp_path)["samples"] == 64
    assert streams.theirs("adaneg", SMALL, tmp_path)["batch"] == 16


@pytest.mark.slow
def test_all_parts(tmp_path):
    alone = measured(tmp_path, "alone", "--without", "weiper_kld")
    assert len(alone) >= 50
    assert {"knn", "neglabel", "gl_mcm", "negrefine", "pair_fused", "laid_covariate"} <= alone.keys() - {"weiper_kld"}
    together = measured(tmp_path, "together")
    assert together["samples"] == 1000 and together["peak_mb"] > 0
    rows = {row["score"]: row for row in measured(tmp_path, "peers")}
    assert all(row["study_s"]["ours"] > 0 and row["study_s"]["theirs"] > 0 for row in rows.values())
    assert {name for name, row in rows.items() if "theirs_float32" in row["us_a_sample"]} == {
        "vim", "nnguide", "nci", "fdbd", "dice",
    }  # fmt: skip
    streams = measured(tmp_path, "streams")
    assert {"tanl", "adaneg", "adaneg, beta 0", "clipscope", "products"} <= streams.keys()
    assert streams["tanl"]["theirs"].startswith("not measured: name a checkout")
    adapters = {row["what"].split(":")[0]: row["apart"] for row in measured(tmp_path, "adapters")}
    assert adapters.keys() == {"tip_adapter", "lp_plus_plus", "clap", "linear_probe"}
    assert float(adapters["lp_plus_plus"].split()[0]) < 1e-4  # the same weights
