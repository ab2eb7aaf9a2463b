"""What every part of the configuration shares."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from oodgrid import catalogue
from oodgrid.config.values import LARGEST
from oodgrid.errors import OodgridError, near, unknown

SLUG = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
SPLITS = ("train", "val", "test")
LONGEST_NAME = 100
MOST = 1_000_000  # of whatever a config counts: images, views, pixels
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
MISTAKE = "mistake"  # the type of those of pydantic's errors whose text is ours


def wrong_name(name: str) -> str | None:
    """Return why a name, which names files on every system too, cannot be used; None where it can."""
    if not re.fullmatch(SLUG.strip("^$"), name):
        return "a name has letters, digits, dots, dashes and underscores only, and begins with a letter or digit"
    if len(name) > LONGEST_NAME:
        return f"a name has {LONGEST_NAME} characters at most, this one {len(name)}"
    if name.endswith(".") or name.lower().split(".")[0] in DEVICES:
        return f"no file on Windows and its drives can be called {name}: choose another name"
    return None


def _name(name: str) -> str:
    if why := wrong_name(name):
        raise mistake(f"{name}: {why}" if len(name) <= LONGEST_NAME else why)
    return name


def mistake(text: str) -> PydanticCustomError:
    """Return what a validator raises, so that pydantic goes on to the next mistake."""
    return PydanticCustomError(MISTAKE, "{text}", {"text": text})


def collected(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a validator whose OodgridError does not hide the mistakes that come after it."""

    def run(value: Any) -> Any:
        try:
            return check(value)
        except OodgridError as error:
            raise mistake(str(error)) from error

    return run


def from_catalogue(kind: str, model: type[BaseModel]) -> BeforeValidator:
    """Return a validator that puts the entry of the catalogue, a dataset or backbone, in place of its name alone."""

    def look_up(entry: Any) -> Any:
        return {"name": entry, **catalogue.entry(kind, entry)} if isinstance(entry, str) else entry

    return BeforeValidator(collected(look_up), json_schema_input_type=str | model)


Slug = Annotated[str, Field(pattern=SLUG, max_length=LONGEST_NAME), AfterValidator(_name)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]


class Strict(BaseModel):
    """A part of the configuration: no key beyond its own, no type but the declared, and nothing changes after reading.

    What is wrong with it is said all at once. A sub-class says by `prepare` what is filled in before its fields are
    read, and by `mistakes` what of it does not fit together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    _outermost: ClassVar[Any]
    stand_ins: ClassVar[dict[str, Any]] = {}  # for required keys with a mistake, to look at how the rest fits together

    def __init_subclass__(cls, **options: Any) -> None:
        """Put `_all_at_once` around all other validators of a sub-class: the last that is defined is the outermost."""
        super().__init_subclass__(**options)
        validator: Any = classmethod(_all_at_once)  # pydantic types those alone that are written in a class body
        cls._outermost = model_validator(mode="wrap")(validator)

    @classmethod
    def prepare(cls, data: dict[str, Any], left_out: set[str]) -> None:
        """Fill in what is written with what it stands for, in place.

        Args:
            data: What is written; what is taken out of it is not validated.
            left_out: Receives the keys whose absence is no mistake of its own.

        Raises:
            OodgridError: It names what is not there.
        """

    def mistakes(self, left_out: set[str]) -> Iterator[str]:
        """Yield what does not fit together, one line each.

        Args:
            left_out: Keys of which a part was left out, being a mistake itself; what they lack is none.
        """
        yield from ()

    @classmethod
    def owned(cls, data: dict[str, Any], key: Any, line: str) -> str:
        """Return the line of a mistake within a part, which stands under a key, as the whole says it: whose it is."""
        return line

    @classmethod
    def keys(cls) -> list[str]:
        """Return the keys that the configuration may have here."""
        return [field.alias or name for name, field in cls.model_fields.items()]


def _all_at_once(cls: type[Strict], data: Any, handler: ModelWrapValidatorHandler) -> Any:
    if not isinstance(data, dict):
        return handler(data)
    mistakes: list[str] = []
    left_out: set[str] = set()
    keys = cls.keys()
    for key in [key for key in data if key not in keys]:
        mistakes.append(str(unknown(f"config key of {_spaced(cls.__name__)}", str(key), keys)))
        left_out |= {similar} if (similar := near(str(key), keys)) else set()
    data = {key: data[key] for key in data if key in keys}
    try:
        cls.prepare(data, left_out)
    except OodgridError as error:
        mistakes.append(str(error))
    return _validated(cls, data, handler, mistakes, left_out)


def _validated(
    cls: type[Strict], data: dict[str, Any], handler: ModelWrapValidatorHandler, mistakes: list[str], left_out: set[str]
) -> Any:
    """Return the model, or raise the mistakes so far, those of its fields, and what does not fit together."""
    errors: list[Any] = []
    model = None
    try:
        model = handler(data)
    except OodgridError as error:  # of a validator that looks at the whole, which is none where something is left out
        mistakes += [] if mistakes or left_out else [str(error)]
    except ValidationError as error:
        errors = [_owned(cls, data, each) for each in error.errors(include_url=False) if not _expected(each, left_out)]
    known = {each["loc"] for each in errors}
    errors += [each for each in _no_numbers(cls, data) if each["loc"] not in known]
    if errors:
        places = {_prunable(each["loc"]) for each in errors}
        left_out |= {place[0] for place in places if place}
        with suppress(ValidationError, OodgridError):  # where what is left is no whole
            sound = {key: each for key, each in _without(data, places).items() if each or key not in left_out}
            stand_ins = {key: each for key, each in cls.stand_ins.items() if key in left_out - set(sound)}
            model = None if () in places else handler(sound | stand_ins)
    if model is not None:
        mistakes += model.mistakes(left_out)
    if mistakes or errors or model is None:
        ours = [InitErrorDetails(type=mistake(line), loc=(), input=None) for line in mistakes]
        raise ValidationError.from_exception_data(cls.__name__, [*ours, *map(_again, errors)])
    return model


def _owned(cls: type[Strict], data: dict[str, Any], error: Any) -> Any:
    """Return an error whose line, if it is ours and of a part, says whose it is."""
    if error["type"] != MISTAKE or not error["loc"]:
        return error
    return error | {"ctx": {"text": cls.owned(data, error["loc"][0], error["ctx"]["text"])}}


def _expected(error: Any, left_out: set[str]) -> bool:
    """Return whether an error is there only because another was left out."""
    return error["type"] == "missing" and len(error["loc"]) == 1 and error["loc"][0] in left_out


def _no_numbers(cls: type[Strict], data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an error for every true and false that pydantic would take for 1 and 0."""
    flags = {field.alias or name for name, field in cls.model_fields.items() if field.annotation is bool}
    for key, value in data.items():
        entries = enumerate(value) if isinstance(value, list) else ()
        places: dict[tuple[Any, ...], Any] = {(key,): value, **{(key, index): entry for index, entry in entries}}
        for place, entry in places.items():
            if isinstance(entry, bool) and key not in flags:
                yield {"type": "int_type", "loc": place, "input": entry}


def _prunable(place: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what to leave out for the rest to be whole: the outermost entry of a list around a mistake, or the key."""
    first = next((depth for depth, part in enumerate(place) if isinstance(part, int)), 0)
    return place[: first + 1]


def _without(value: Any, places: set[tuple[Any, ...]], here: tuple[Any, ...] = ()) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, places, (*here, k)) for k, v in value.items() if (*here, k) not in places}
    if isinstance(value, list):
        return [_without(v, places, (*here, i)) for i, v in enumerate(value) if (*here, i) not in places]
    return value


def _again(error: Any) -> InitErrorDetails:
    """Return an error of a part as one of the whole."""
    of_type = mistake(error["ctx"]["text"]) if error["type"] == MISTAKE else error["type"]
    return InitErrorDetails(type=of_type, loc=error["loc"], input=error["input"], ctx=error.get("ctx", {}))


def expand(path: str) -> Path:
    """Return a path of the configuration with `~`, `${NAME}` and `${NAME:-default}` filled in.

    Raises:
        OodgridError: A variable without a default is not set.
    """

    def value(match: re.Match) -> str:
        name, _, default = match[1].partition(":-")
        text = os.environ.get(name) or default
        if not text:
            raise OodgridError(f"{path}: the environment variable {name} is not set: export {name}=…")
        return text

    return Path(re.sub(r"\$\{([^}]+)\}", value, path)).expanduser()


def _spaced(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
