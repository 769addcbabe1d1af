"""Results as JSON files: written from dataclasses and read back into them, with every field validated."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from noisystudent.artifacts.folder import Json, write_json
from noisystudent.errors import ArtifactError

Result = TypeVar("Result")
Finite = Annotated[float, Field(allow_inf_nan=False)]  # the type of a number in a result


def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type that pydantic knows
    return _cached_adapter(kind)


@cache
def _cached_adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401
    return TypeAdapter(kind)


def to_json(result: object) -> Json:
    """Returns a dataclass, nested dataclasses included, as JSON values."""
    return _adapter(type(result)).dump_python(result, mode="json", by_alias=True)


def from_json(kind: type[Result], content: object, what: str) -> Result:
    """Returns JSON values as a dataclass.

    Args:
        kind: the dataclass.
        content: the JSON values.
        what: name of the content in the error message.

    Raises:
        ArtifactError: a field is missing or invalid; the message names the first one.
    """
    try:
        checked: Result = _adapter(kind).validate_python(content)
    except ValidationError as error:
        raise ArtifactError(f"{what} is not what this program writes: {first_problem(error)}.") from error
    return checked


def write_result(path: Path, result: object) -> None:
    """Writes a dataclass as a JSON file, atomically."""
    write_json(path, to_json(result))


def read_result(kind: type[Result], path: Path, *, when_missing: str = "") -> Result:
    """Reads a dataclass from a JSON file.

    Args:
        kind: the dataclass.
        path: the file.
        when_missing: the advice of the error message if the file is missing.

    Raises:
        ArtifactError: the file is missing, damaged, or not what this program writes.
    """
    repair = f"Delete {path.name} and run the command that writes it again."
    try:
        content = json.loads(path.read_bytes())
        # File names may contain bytes that are not text; a replacement character keeps the rest readable.
        text = json.dumps(content, ensure_ascii=False).encode("utf-8", errors="replace")
        checked: Result = _adapter(kind).validate_json(text)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing. {when_missing}".rstrip()) from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        raise ArtifactError(f"{path} is not what this program writes: {first_problem(error)}. {repair}") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: {error}. {repair}") from error
    return checked


def first_problem(error: ValidationError) -> str:
    """Returns the first invalid field and what is wrong with it."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field or 'content'}: {first['msg']}"
