"""Settings as users write them: dotted names, nested mappings, settings objects and YAML files.

``named_values`` turns every form into dotted names such as ``noise.strength``. Mistakes become one clear line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from noisystudent.allowed_values import allowed_values, choices_of
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.settings import Settings
from noisystudent.yaml_text import MAX_CHARACTERS, YamlTextError, parse_yaml

_LONGEST_VALUE = 200  # characters of a value in a message

SettingsInput = Mapping[str, Any] | Settings | Sequence[Mapping[str, Any] | Settings]
"""Settings in Python, alone or as a list of these: ``{"train.steps": 5}``, ``{"train": {"steps": 5}}``,
``{"train": TrainSettings(steps=5)}``, ``TrainSettings(steps=5)``, ``RunSettings(...)``. Of an object, only the fields
that were set count."""

Entry = tuple[str, Any, str]  # a dotted name, its value, and where the user wrote it


def setting_fields(root: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every setting below ``root`` by its dotted name, in order of declaration; a list of sections is one section."""
    fields: dict[str, FieldInfo] = {}
    for name, field in root.model_fields.items():
        kind = get_args(field.annotation)[0] if get_origin(field.annotation) is tuple else field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields.update(setting_fields(kind, f"{prefix}{name}."))
        else:
            fields[prefix + name] = field
    return fields


def section_classes(root: type[BaseModel]) -> dict[str, type[Settings]]:
    """The sections of ``root`` and those within them: the class of each by its dotted name."""
    sections: dict[str, type[Settings]] = {}
    for name, field in root.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            sections[name] = kind
            sections |= {f"{name}.{inner}": inner_kind for inner, inner_kind in section_classes(kind).items()}
    return sections


def named_values(given: SettingsInput | None, root: type[Settings], origin: str) -> dict[str, Any]:
    """The settings that a user gave, by dotted name; text is read as YAML.

    Args:
        given: Settings in any form of ``SettingsInput``.
        root: The class of all settings.
        origin: Where they come from, for messages, such as ``file run.yaml``.

    Raises:
        SettingsError: A name is unknown, a section holds something else than its settings, or a setting is given twice
            with different values.
    """
    fields = setting_fields(root)
    values: dict[str, Any] = {}
    written: dict[str, str] = {}
    for name, raw, where in _entries(given, root):
        if name not in fields:
            known = [*fields, *section_classes(root)]
            raise SettingsError(f"unknown setting {shown(name)} ({origin}).{nearest_name(name, known)}")
        value = _parse(raw, fields[name])
        if name in values and not _are_equal(values[name], value):
            raise SettingsError(
                f"setting {name} is given twice with different values ({origin}): {shown(values[name])} "
                f"{written[name]} and {shown(value)} {where}; give it once."
            )
        values[name], written[name] = value, where
    return values


def as_list(given: SettingsInput | None) -> list[Mapping[str, Any] | Settings]:
    """Settings as a list, to which more can be added."""
    if given is None:
        return []
    return list(given) if isinstance(given, Sequence) else [given]


def _entries(given: SettingsInput | None, root: type[Settings]) -> Iterator[Entry]:
    if given is None:
        return
    if isinstance(given, Settings):
        yield from _object_entries(given, root)
    elif isinstance(given, Mapping):
        yield from _mapping_entries(given, section_classes(root), "")
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        for item in given:
            if not isinstance(item, Mapping | Settings):
                raise _wrong_kind(item, root)
            yield from _entries(item, root)
    else:
        raise _wrong_kind(given, root)


def _object_entries(settings: Settings, root: type[Settings]) -> Iterator[Entry]:
    """The fields of a settings object that were set: of all settings, or of one section, known by its class."""
    if isinstance(settings, root):
        yield from _set_fields(settings, "")
        return
    for name, kind in section_classes(root).items():
        if isinstance(settings, kind):
            yield from _set_fields(settings, f"{name}.")
            return
    raise _wrong_kind(settings, root)


def _set_fields(settings: Settings, prefix: str) -> Iterator[Entry]:
    for name in type(settings).model_fields:
        if name not in settings.model_fields_set:
            continue
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from _set_fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value, f"(in {type(settings).__name__})"


def _mapping_entries(given: Mapping[str, Any], sections: Mapping[str, type[Settings]], prefix: str) -> Iterator[Entry]:
    for name, value in given.items():
        if not isinstance(name, str):
            raise SettingsError(f"a setting's name is {shown(name)}; names are text, such as 'train.steps'.")
        dotted = prefix + name
        if dotted not in sections:
            yield dotted, value, f"(as {dotted!r})" if not prefix else f"(in {prefix[:-1]!r})"
        elif isinstance(value, Mapping):
            yield from _mapping_entries(value, sections, f"{dotted}.")
        elif isinstance(value, sections[dotted]):
            yield from _set_fields(value, f"{dotted}.")
        elif value is not None:  # a section whose lines are all comments is None in YAML
            kind, held = sections[dotted], type(value).__name__ if isinstance(value, Settings) else shown(value)
            raise SettingsError(
                f"{dotted!r} is a section of the settings and holds {held}; give {kind.__name__}, a mapping of names "
                f"to values, or dotted names such as '{dotted}.{next(iter(kind.model_fields))}'."
            )


def _wrong_kind(given: object, root: type[Settings]) -> SettingsError:
    names = ", ".join(kind.__name__ for kind in (root, *section_classes(root).values()))
    held = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
    return SettingsError(
        f"settings hold {held}, which is no settings object; give a mapping such as {{'train.steps': 300}}, an object "
        f"of {names}, or a list of these."
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of settings as a nested dictionary; raises ``SettingsError`` if it cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            content = parse_yaml(file.read(MAX_CHARACTERS + 1))
    except FileNotFoundError:
        raise SettingsError(f"the settings file {path} does not exist.") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"the settings file {path} is not YAML: it is not UTF-8 text ({error.reason}).") from None
    except YamlTextError as error:
        raise SettingsError(f"the settings file {path} cannot be used: {error}.") from None
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error.strerror or error}.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"the settings file {path} must hold names and values, as in 'train: {{steps: 300}}'.")
    return content


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings by dotted name; names that are dotted already stay as they are.

    Raises ``SettingsError`` for a name that stands twice, once nested and once dotted.
    """
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        dotted = f"{prefix}{name}"
        for key, entry in (flatten(value, f"{dotted}.") if isinstance(value, Mapping) else {dotted: value}).items():
            if key in flat:
                raise SettingsError(f"setting {key!r} is given twice; give it once.")
            flat[key] = entry
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested dictionaries; raises ``SettingsError`` for a name that is a value and a section."""
    nested: dict[str, Any] = {}
    for dotted, value in sorted(flat.items(), key=lambda item: item[0].count(".")):
        *parents, name = dotted.split(".")
        section = nested
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise SettingsError(f"setting {dotted!r} is given, and {parent!r} is given a value; give one of them.")
        section[name] = value
    return nested


def is_text(field: FieldInfo) -> bool:
    """Whether a setting is plain text, never read as YAML: a folder may be called 2024 or true."""
    return field.annotation is str or field.annotation == str | None


def _parse(value: Any, field: FieldInfo) -> Any:  # noqa: ANN401 - whatever YAML can say
    """A value as its field takes it: text is read as YAML (numbers, true, [a, b]); a list may also be written a,b."""
    if isinstance(value, os.PathLike) and is_text(field):
        return os.fspath(value)
    is_list = get_origin(field.annotation) is tuple or (_may_be_list(field) and _looks_like_list(value))
    if is_list and isinstance(value, list | tuple):
        return tuple(os.fspath(item) if isinstance(item, os.PathLike) else item for item in value)
    if not isinstance(value, str) or is_text(field):
        return value
    if not is_list:
        return _read_text(value)
    if value.lstrip().startswith("["):
        items = _read_text(value)
        return tuple(items) if isinstance(items, list) else items
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return tuple(parts if get_args(field.annotation)[0] is str else map(_read_text, parts))


def _may_be_list(field: FieldInfo) -> bool:
    """Whether a setting is one value or a list of these."""
    kinds = (get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in get_args(field.annotation))
    return any(get_origin(kind) is tuple for kind in kinds)


def _looks_like_list(value: object) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, str) and ("," in value or value.lstrip()[:1] == "["))


def _read_text(text: str) -> Any:  # noqa: ANN401 - whatever YAML can say
    if not text.strip():
        return text
    try:
        parsed = parse_yaml(text)
    except YamlTextError:
        return text
    # YAML 1.1 does not read 1e-3 as a number.
    if isinstance(parsed, str):
        try:
            return float(parsed)
        except ValueError:
            return parsed
    return parsed if isinstance(parsed, bool | int | float | list | None) else text


def shown(value: object) -> str:
    """A value in a message: as Python writes it, shortened, whatever it is."""
    try:
        text = repr(value)
    except Exception as error:  # a whole number of thousands of digits, an object that contains itself, a user's class
        return f"a {type(value).__name__} that cannot be written ({type(error).__name__})"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(text):,} characters)"


def _are_equal(first: object, second: object) -> bool:
    try:
        return bool(first == second)
    except Exception:  # arrays have no single answer, and objects of users may do anything
        return False


def explain(error: ValidationError, origins: Mapping[str, str], root: type[BaseModel]) -> str:
    """Pydantic's errors as one line: for every setting its name, value, origin, and what is allowed.

    Args:
        error: What pydantic raised.
        origins: Where the value of each known setting came from, by dotted name.
        root: The class of all settings.
    """
    fields = setting_fields(root)
    problems: dict[str, list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False, include_context=False):
        parts = [str(part) for part in problem["loc"] if isinstance(part, str)]
        name = next(
            (".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in origins), ".".join(parts)
        )
        problems.setdefault(name, []).append(problem)
    texts = [_explain_one(*_named(name, found, fields), origins, fields) for name, found in problems.items()]
    return "; ".join(text.removesuffix(".") for text in texts[:-1]) + "; " * (len(texts) > 1) + texts[-1]


def _named(
    name: str, problems: Sequence[ErrorDetails], fields: Mapping[str, FieldInfo]
) -> tuple[str, Sequence[ErrorDetails]]:
    """The setting of a problem; a check of a whole section may begin its message with the setting that it is about."""
    about = f"{name}.{_own_words(problems[0]).partition(':')[0]}"
    return (about if name not in fields and about in fields else name), problems


def _explain_one(
    name: str, problems: Sequence[ErrorDetails], origins: Mapping[str, str], fields: Mapping[str, FieldInfo]
) -> str:
    """What is wrong with one setting: its first value that is, and all that would be right."""
    first, field = problems[0], fields.get(name)
    if first["type"] == "missing":
        return f"setting {name}: it is required."
    own = [_own_words(problem) for problem in problems if _is_own(problem) or field is None]
    texts = [f"give {allowed_values(field)}"] if field and any(not _is_own(problem) for problem in problems) else []
    message = " or ".join(dict.fromkeys([*texts, *own])).removeprefix(f"{name.rpartition('.')[2]}: ")
    value = first["input"]
    if _is_own(first) and isinstance(value, Mapping):  # the section that the check saw
        value = value.get(name.rpartition(".")[2])
    if name not in origins:  # the problem is of several settings, which the message names
        return f"setting {name}: {message}."
    near = nearest_name(value, choices_of(field.annotation)) if field and isinstance(value, str) else ""
    return f"setting {name} (from {origins[name]}: {shown(value)}): {message}.{near}"


def _is_own(problem: ErrorDetails) -> bool:
    """Whether a check of this package found the problem, whose words it has; else pydantic did, by the type."""
    return problem["type"] == "value_error"


def _own_words(problem: ErrorDetails) -> str:
    text = problem["msg"].removeprefix("Value error, ").removesuffix(".")
    return text[0].lower() + text[1:]


def join_names(names: Iterable[str]) -> str:
    """Names as a phrase: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
