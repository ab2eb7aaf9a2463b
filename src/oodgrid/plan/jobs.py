"""What jobs are given: the configuration as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from oodgrid import store


def config_path(results: Path, experiment: str) -> Path:
    """Return where the configuration of an experiment lies for its jobs."""
    return results / experiment / "config.yaml"


def write_config(results: Path, experiment: str, config: dict[str, Any]) -> None:
    """Write down what the jobs are to read, with what the command line changed; untouched where it is the same."""
    path = config_path(results, experiment)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with store.atomic(path) as beside:
            beside.write_text(text, encoding="utf-8")
