"""Which columns of a table hold images, labels and keys: Hugging Face's layout, and plain tables like it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from noisystudent.errors import DataError

_IMAGES = ("image", "img", "picture")
_LABELS = ("label", "labels", "class")
_KEYS = ("key", "id")


@dataclass(frozen=True)
class Columns:
    """The columns by name: ``image`` is binary, or where ``nested`` a struct whose field ``bytes`` is.

    ``labels`` are the columns that may hold the label (usable when there is one), ``classes`` the names of its numbers,
    ``key`` what names each row; None where there is none.
    """

    image: str
    nested: bool
    labels: tuple[str, ...]
    classes: tuple[str, ...] | None
    key: str | None

    @property
    def image_path(self) -> str:
        """The column as Parquet names it."""
        return f"{self.image}.bytes" if self.nested else self.image

    def label(self, name: str) -> str | None:
        """The label column, or None; a ``DataError`` about the source ``name`` when several could be meant."""
        if len(self.labels) > 1:
            raise DataError(
                f"{name!r} has several columns that may hold the labels: {', '.join(map(repr, self.labels))}. Name the "
                "one that is meant 'label'."
            )
        return self.labels[0] if self.labels else None


def find_columns(name: str, schema: pa.Schema) -> Columns:
    """The columns of the table ``name``; a ``DataError`` that lists what there is when not one holds images."""
    images = [field.name for field in schema if holds_bytes(field.type)]
    image = next((each for each in _IMAGES if each in images), images[0] if len(images) == 1 else None)
    if image is None:
        raise DataError(
            f"{name!r} has {len(images)} columns of bytes among {', '.join(map(repr, schema.names)) or 'none'}, and "
            "one is needed that holds the bytes of image files. Name it 'image'."
        )
    features = _features(schema)
    numbered = {
        each: names
        for each, names in features.items()
        if each in schema.names and pa.types.is_integer(_type(schema, each))
    }
    named = [each for each in _LABELS if each in schema.names and _is_simple(_type(schema, each))]
    labels = tuple(named[:1] or numbered)
    key = next((each for each in _KEYS if each in schema.names and _is_simple(_type(schema, each))), None)
    classes = numbered.get(labels[0]) if labels else None
    return Columns(image, pa.types.is_struct(_type(schema, image)), labels, classes, key)


def holds_bytes(type: pa.DataType) -> bool:
    """Whether a column of this type holds bytes, by itself or in a field ``bytes``."""
    if pa.types.is_struct(type):
        return any(field.name == "bytes" and holds_bytes(field.type) for field in type)
    return bool(pa.types.is_binary(type) or pa.types.is_large_binary(type))


def _type(schema: pa.Schema, name: str) -> pa.DataType:
    return schema.field(name).type


def _is_simple(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        return _is_simple(type.value_type)
    return bool(pa.types.is_integer(type) or pa.types.is_string(type) or pa.types.is_large_string(type))


def _features(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The class names of each ``ClassLabel`` column, as Hugging Face's datasets writes them into the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name, feature in features.items() if isinstance(features, Mapping) else ():
        names = feature.get("names") if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel" else None
        if isinstance(names, list) and names and len(set(map(str, names))) == len(names):
            found[name] = tuple(map(str, names))
    return found
