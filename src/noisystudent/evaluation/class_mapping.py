"""Which of a model's outputs are the classes of a source: by name, by ImageNet synset or by ImageNet class number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from noisystudent.data.checks import listed
from noisystudent.data.class_names import UNKNOWN, match_classes
from noisystudent.errors import DataError
from noisystudent.models.imagenet import imagenet_synsets

Ints = npt.NDArray[np.int64]

Rule = Literal["name", "synset", "number"]


@dataclass(frozen=True)
class ClassMapping:
    """The model output of each class of a source.

    Attributes:
        columns: the output of each class, int64 [n], in the source's order.
        outputs: number of the model's outputs, K.
        rule: how the classes were matched, see ``map_classes``.
    """

    columns: Ints
    outputs: int
    rule: Rule

    @property
    def variant(self) -> str:
        """The number of classes that a prediction is chosen from within the source, such as ``200way``."""
        return f"{len(self.columns)}way"

    @property
    def is_identity(self) -> bool:
        """Whether the source has all of the model's classes, with the same names in the same order."""
        return self.rule == "name" and np.array_equal(self.columns, np.arange(self.outputs))

    @property
    def explanation(self) -> str:
        """How the classes were matched, as text for a report."""
        explanations = {
            "name": "by the names that the model gives them",
            "synset": "by their WordNet synsets, as ImageNet's 1,000 classes in ascending order",
            "number": "by their numbers in numeric order: 10 after 9, not after 1",
        }
        return f"{len(self.columns)} of the model's {self.outputs} classes, found {explanations[self.rule]}"


def map_classes(classes: Sequence[str], model_classes: Sequence[str]) -> ClassMapping:
    """Finds the classes of a source among the outputs of a model.

    The rules are tried in this order. ``name``: the model has classes of all these names, as ``match_classes`` compares
    them: in any Unicode form, and numbers by their value. ``number``: the folders are ``0`` to ``999``, as in
    ImageNetV2, whatever their order as text; all 1,000 must be present, because fewer may be numbered in another way.
    ``synset``: all folders are ImageNet synsets such as ``n01440764``. The last two rules apply only to a model of
    1,000 classes, which then counts as an ImageNet model.

    Args:
        classes: the classes of the source, usually folder names, in any order.
        model_classes: the class of each model output.

    Returns:
        The mapping, and the rule that found it.

    Raises:
        DataError: a class matches no output by any rule.
    """
    numbers = tuple(map(str, range(len(imagenet_synsets()))))
    rules: list[tuple[Rule, Sequence[str]]] = [("name", model_classes)]
    if len(model_classes) == len(imagenet_synsets()):
        rules += [("number", numbers)] if set(classes) == set(numbers) else [("synset", imagenet_synsets())]
    for rule, names in rules:
        columns = match_classes(classes, names)
        if (columns != UNKNOWN).all():
            return ClassMapping(columns, len(model_classes), rule)
    unknown = _unknown(classes, model_classes)[0]
    if all(name.isdecimal() for name in classes):
        advice = (
            "Folder numbers are read as ImageNet's class numbers only if all of 0 to 999 are present and the model has "
            "1,000 classes"
        )
    else:
        advice = "Name the folders after the model's classes, or after ImageNet's synsets for a model of its 1,000"
    raise DataError(
        f"The source has {len(classes)} classes; its class {unknown!r} is unknown to the model, which has "
        f"{len(model_classes)} classes. {advice}."
    )


def map_source_classes(classes: Sequence[str] | None, model_classes: Sequence[str], role: str) -> ClassMapping:
    """Finds the classes of the source that a model is evaluated on; the error names both sides.

    Args:
        classes: the classes of the source: all of the model's or some, in any order; None without labels.
        model_classes: the class of each model output.
        role: the role of the source in messages, such as ``evaluated``.

    Returns:
        The mapping, as from ``map_classes``.

    Raises:
        DataError: the source has no labels, or a class that is unknown to the model.
    """
    if classes is None:
        raise DataError(
            f"The {role} source has no labels. Give a source labeled with the model's classes: {listed(model_classes)}."
        )
    try:
        return map_classes(classes, model_classes)
    except DataError as error:
        unknown = _unknown(classes, model_classes)
        raise DataError(
            f"The {role} source has classes that are unknown to the model ({len(unknown)} of {len(classes)}): "
            f"{listed(unknown)}. The model's classes are {listed(model_classes)}. Give images of some or all of these."
        ) from error


def _unknown(classes: Sequence[str], model_classes: Sequence[str]) -> list[str]:
    """The classes of a source that no output of the model is named after."""
    return [name for name, column in zip(classes, match_classes(classes, model_classes), strict=True) if column < 0]
