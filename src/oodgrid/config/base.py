"""What every part of the configuration shares."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oodgrid.errors import OodgridError, unknown

SLUG = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
SPLITS = ("train", "val", "test")

Slug = Annotated[str, Field(pattern=SLUG)]


class Strict(BaseModel):
    """A part of the configuration: no key beyond its own, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        known = cls.keys()
        for key in data if isinstance(data, dict) else ():
            if key not in known:
                raise unknown(f"config key of {_spaced(cls.__name__)}", str(key), known)
        return data

    @classmethod
    def keys(cls) -> list[str]:
        """Return the keys that the configuration may have here."""
        return [field.alias or name for name, field in cls.model_fields.items()]


def expand(path: str) -> Path:
    """Return a path of the configuration with `~`, `${NAME}` and `${NAME:-default}` filled in.

    Raises:
        OodgridError: A variable without a default is not set.
    """

    def value(match: re.Match) -> str:
        name, _, default = match[1].partition(":-")
        found = os.environ.get(name) or default
        if not found:
            raise OodgridError(f"{path}: the environment variable {name} is not set: export {name}=…")
        return found

    return Path(re.sub(r"\$\{([^}]+)\}", value, path)).expanduser()


def _spaced(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
