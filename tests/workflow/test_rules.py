"""What Snakemake compares of every rule, and so must not change by itself: a finished folder would be made again."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

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
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.shell import shell
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings

root, config = map(Path, sys.argv[1:])
with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
    loaded = api.workflow(
        ResourceSettings(cores=1), config_settings=ConfigSettings(configfiles=[config]), snakefile=root / "Snakefile"
    )
    rules = [rule for rule in loaded._workflow.rules if rule.shellcmd]
    print(json.dumps([shell._process_prefix, {
        rule.name: {
            "output": [str(file) for file in rule.output],
            "shell": rule.shellcmd,
            "params": sorted(name for name, _ in rule.params.items()),
        }
        for rule in rules
    }]))
"""


def test_outputs_commands_and_triggers_of_all_rules_are_those_of_finished_folders(tmp_path):
    """Where this fails on purpose, say so in the CHANGELOG: a folder of results of today is then made again."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", LOAD, str(ROOT), str(tmp_path / "config.yaml")]
    # Started as `.venv/bin/snakemake`, without its environment in PATH: jobs take its interpreter all the same.
    env["PATH"] = "/usr/bin:/bin"
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    prefix, found = json.loads(done.stdout.splitlines()[-1])
    assert f"python() {{ {shlex.quote(sys.executable)} " in prefix
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert list(found) == list(golden)
    for name, rule in golden.items():
        assert found[name] == rule, name
