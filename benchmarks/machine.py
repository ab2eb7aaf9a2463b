"""What a benchmark says of the machine that it ran on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def describe() -> dict[str, str | int]:
    """Return processor, system and the versions of the libraries that matter."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": models[0] if models else platform.processor(),
        "cpus": os.cpu_count() or 1,
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "open_clip_torch", "pillow", "h5py", "numpy")},
    }
