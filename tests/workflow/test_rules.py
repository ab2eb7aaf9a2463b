"""What Snakemake compares of every rule, and so must not change by itself: a finished folder would be made again."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from oodgrid.plan import REQUESTS

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parents[1] / "golden/rules.json"
CONFIG = {
    "experiment": "mini",
    "backbones": ["tiny"],
    "id_datasets": [
        {
            "name": "concepts",
            "views": [{"family": "rrc50", "count": 2}],
            "ood": {"far": [{"name": "noise", "shards": 2}]},
        }
    ],
    "methods": ["zero_shot", {"name": "tip_adapter", "views": "rrc50"}],
    "shots": [1],
    "seeds": [1],
    "scores": ["mcm", "knn", "tag", {"name": "eoe", "labels": "mine"}, {"name": "adaneg", "labels": "concept-words"}],
    "label_lists": [{"name": "mine", "labels": ["red heart", "painting"], "drop_classes_of": "concepts"}],
}
LOAD = """
import json, sys
from dataclasses import replace
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.iocontainers import Wildcards
from snakemake.shell import shell
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings
from snakemake_interface_executor_plugins.settings import ExecMode

def on_cluster(rule, attempt):
    resources = rule.expand_resources(Wildcards(), [], attempt)
    return {name: resources[name] for name in ("_cores", "mem_mb", "runtime", "gpu", "memory")}

root, config = map(Path, sys.argv[1:])
with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
    loaded = api.workflow(
        ResourceSettings(cores=64), config_settings=ConfigSettings(configfiles=[config]), snakefile=root / "Snakefile"
    )
    workflow = loaded._workflow
    rules = [rule for rule in workflow.rules if rule.shellcmd]
    compared = {
        rule.name: {
            "output": [str(file) for file in rule.output],
            "shell": rule.shellcmd,
            "params": sorted(name for name, _ in rule.params.items()),
        }
        for rule in rules
    }
    workflow.workflow_settings = replace(workflow.workflow_settings, exec_mode=ExecMode.REMOTE)
    asked = {rule.name: [on_cluster(rule, attempt) for attempt in (1, 2)] for rule in rules}
    print(json.dumps([shell._process_prefix, compared, asked]))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What Snakemake has read: the line before every job, what it compares of rules, what these ask a cluster for."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    command = [sys.executable, "-c", LOAD, str(ROOT), str(folder / "config.yaml")]
    # Started as `.venv/bin/snakemake`, without its environment in PATH: jobs take its interpreter all the same.
    env |= {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_outputs_commands_and_triggers_of_all_rules_are_those_of_finished_folders(loaded):
    """Where this fails on purpose, say so in the CHANGELOG: a folder of results of today is then made again."""
    prefix, compared, _ = loaded
    assert f"python() {{ {shlex.quote(sys.executable)} " in prefix
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert list(compared) == list(golden)
    for name, rule in golden.items():
        assert compared[name] == rule, name


def test_every_rule_asks_a_cluster_for_what_its_stage_needs(loaded):
    """Whatever this machine has; `memory` and `gpu` of profiles/default bound the jobs of one machine only."""
    _, compared, asked = loaded
    for name, rule in compared.items():
        request = REQUESTS[rule["shell"].split()[3]]  # python -m oodgrid STAGE
        for attempt, resources in enumerate(asked[name], start=1):
            assert resources == {
                "_cores": request.threads,
                "mem_mb": request.mem_mb * attempt,
                "runtime": request.runtime * attempt,
                "gpu": request.gpu,
                "memory": 0,
            }, name
