"""Finds the columns with images, labels and keys in a table: Hugging Face's layout, and similar plain tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from noisystudent.data.sources.labels import in_one_form
from noisystudent.errors import DataError

# Column names in data sets of others, the preferred first.
_IMAGE_NAMES = ("image", "img", "picture")
LABEL_NAMES = ("label", "labels", "class")
_KEY_NAMES = ("key", "id")

NO_BYTES = "the row has no image bytes (a path alone is not opened)"  # a record's problem


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a table.

    ``image`` is a binary column or, if ``nested``, a struct with a binary field ``bytes``. ``labels`` are the columns
    that may be the label (usable if there is only one), ``classes`` the class names of its numbers, or None;
    ``numbers``: whether the label column holds numbers. ``key`` is the column that identifies each row, or None.
    """

    image: str
    nested: bool
    labels: tuple[str, ...]
    classes: tuple[str, ...] | None
    numbers: bool
    key: str | None

    @property
    def image_path(self) -> str:
        """The path of the image column in a Parquet file."""
        return f"{self.image}.bytes" if self.nested else self.image

    def label(self, name: str) -> str | None:
        """The label column, or None; ``DataError``, naming the source ``name``, if several columns are possible."""
        if len(self.labels) > 1:
            raise DataError(
                f"{name!r} has several columns that may hold the labels: {', '.join(map(repr, self.labels))}. Name the "
                "right one 'label'."
            )
        return self.labels[0] if self.labels else None


def find_columns(name: str, schema: pa.Schema) -> Columns:
    """The columns of the table ``name``; ``DataError``, listing all columns, if the image column is not clear."""
    images = [field.name for field in schema if holds_bytes(field.type)]
    image = next((column for column in _IMAGE_NAMES if column in images), images[0] if len(images) == 1 else None)
    if image is None:
        raise DataError(
            f"{name!r} has {len(images)} columns of bytes among {', '.join(map(repr, schema.names)) or 'none'}, and "
            "one with the bytes of image files is needed. Name it 'image'."
        )
    class_names = {
        column: names
        for column, names in class_label_names(schema).items()
        if column in schema.names and _is_number(_type(schema, column))
    }
    label_columns = [column for column in LABEL_NAMES if column in schema.names and column != image]
    labels = tuple(label_columns[:1] or class_names)
    key = next((column for column in _KEY_NAMES if _has_simple(schema, column)), None)
    classes = class_names.get(labels[0]) if labels else None
    numbers = bool(labels) and _is_number(_type(schema, labels[0]))
    return Columns(image, pa.types.is_struct(_type(schema, image)), labels, classes, numbers, key)


def holds_bytes(type: pa.DataType) -> bool:
    """Whether a column of this type holds bytes, directly or in a field ``bytes``."""
    if pa.types.is_struct(type):
        return any(field.name == "bytes" and holds_bytes(field.type) for field in type)
    return bool(pa.types.is_binary(type) or pa.types.is_large_binary(type))


def _type(schema: pa.Schema, name: str) -> pa.DataType:
    return schema.field(name).type


def _has_simple(schema: pa.Schema, name: str) -> bool:
    """Whether the schema has the column ``name``, with numbers or text."""
    return name in schema.names and _is_simple(_type(schema, name))


def _is_number(type: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type) or pa.types.is_floating(type) or pa.types.is_decimal(type))


def _is_simple(type: pa.DataType) -> bool:
    if pa.types.is_dictionary(type):
        return _is_simple(type.value_type)
    return bool(pa.types.is_integer(type) or pa.types.is_string(type) or pa.types.is_large_string(type))


def class_label_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The class names by ``ClassLabel`` column, which Hugging Face's datasets writes into the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    class_names: dict[str, tuple[str, ...]] = {}
    for name, feature in features.items() if isinstance(features, Mapping) else ():
        names = feature.get("names") if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel" else None
        if isinstance(names, list) and names and len(set(map(str, names))) == len(names):
            class_names[name] = tuple(in_one_form(str(text)) for text in names)
    return class_names
