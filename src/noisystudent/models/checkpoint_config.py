"""The fields of a checkpoint's ``config.json``, bounded before anything is allocated: anyone may have written it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from noisystudent.errors import ModelError

LARGEST_SIZE = 4096  # pixels
MOST_CLASSES = 1_000_000
_LARGEST_FILE = 2**26  # bytes
_LARGEST_NUMBER, _MOST_BLOCKS = 50_000, 1_000  # in the arguments of a constructor
_MOST_ENTRIES, _DEEPEST, _LONGEST_TEXT = 1_000, 5, 1_000
_BLOCKS = re.compile("depth|layers|blocks|repeat")  # arguments that say how often something is built

Json = Any  # a value that json.dumps accepts; the standard library has no type for it
_Edge = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
_Mean = Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)]
_Std = Annotated[float, Field(ge=1e-4, le=1e4, allow_inf_nan=False)]

# Constructor arguments that would make timm open another file, or build a network that is no classifier.
_REFUSED_ARGUMENTS = frozenset(
    (
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
        "features_only",
    )
)


class Preprocessing(BaseModel):
    """The fields of timm's ``pretrained_cfg`` that are read; missing fields have timm's defaults."""

    model_config = ConfigDict(extra="ignore")

    input_size: tuple[Literal[1, 3], _Edge, _Edge] = (3, 224, 224)
    mean: tuple[_Mean, ...] = Field((0.485, 0.456, 0.406), min_length=1, max_length=3)
    std: tuple[_Std, ...] = Field((0.229, 0.224, 0.225), min_length=1, max_length=3)
    crop_pct: float | None = Field(None, ge=0.1, le=1.0)
    label_names: list[str] | dict[int, str] | None = None

    @model_validator(mode="after")
    def _one_std_per_mean(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} numbers and std {len(self.std)}; each channel has both")
        return self


class Own(BaseModel):
    """The fields that this package adds to config.json.

    ``factory`` identifies the factory of a user's architecture. ``bits``: how many of their bits the 16-bit images that
    trained the model use. ``trained_area``: the smallest share of an image that a crop of its training shows.
    ``squash``: both edges of an image are resized to the view's. ``tuned``: ``head`` for a last layer that was fitted
    on the features of a frozen backbone.
    """

    model_config = ConfigDict(extra="ignore")

    factory: str = ""
    bits: Literal[8, 10, 12, 14, 16] | None = None
    trained_area: float | None = Field(None, gt=0, le=1)
    squash: bool = False
    tuned: str = ""


class CheckpointConfig(BaseModel):
    """The fields of config.json that are read."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    architecture: str = Field(max_length=200)
    num_classes: int = Field(ge=0, le=MOST_CLASSES)  # 0: an encoder, which gives features
    label_names: list[str] | dict[int, str] | None = None
    model_args: dict[str, Json] = {}
    pretrained_cfg: Preprocessing
    noisystudent: Own = Own()

    @field_validator("model_args")
    @classmethod
    def _bounded(cls, arguments: dict[str, Json]) -> dict[str, Json]:
        for name, value in arguments.items():
            if name == "num_classes":
                continue
            largest = _MOST_BLOCKS if _BLOCKS.search(name) else _LARGEST_NUMBER
            if not _is_bounded(value, largest, _DEEPEST):
                raise ValueError(f"{name[:50]!r} has a value that no model has, or one that is nested or too long")
        if arguments.get("in_chans", 3) not in (1, 3):
            raise ValueError(f"in_chans is {str(arguments['in_chans'])[:50]}; images have 1 or 3 channels")
        return arguments


def read_config(path: Path) -> CheckpointConfig:
    """Reads and checks a ``config.json``; raises ``ModelError`` for one that is damaged, hostile or too large."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ModelError(f"{path} has more than {_LARGEST_FILE:,} bytes, so it is no {path.name} of a model.")
        config = CheckpointConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(
            f"{path} is damaged, or not the {path.name} of a timm model: {field[:200]}: {first['msg'][:500]}. Copy it "
            "again from its source."
        ) from error
    refused = sorted(_REFUSED_ARGUMENTS & config.model_args.keys())
    if refused:
        raise ModelError(f"{path} has model_args that reach outside the folder: {', '.join(refused)}. Remove them.")
    return config


def _is_bounded(value: Json, largest: int, depth: int) -> bool:
    """Whether an argument of a constructor is of a size that a model can have."""
    if isinstance(value, bool) or value is None:
        return True
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= largest
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT
    entries = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return (
        depth > 0 and len(entries) <= _MOST_ENTRIES and all(_is_bounded(entry, largest, depth - 1) for entry in entries)
    )
