"""The templates of the pages: every value is escaped, and a missing name is an error."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from noisystudent.display import wording
from noisystudent.display.sources import CLASSES_SHOWN, class_sentence


def template(name: str) -> Template:
    """Loads a template, with the number formats of ``wording`` as filters."""
    environment = Environment(
        loader=PackageLoader("noisystudent", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=wording.percent,
        number=wording.number,
        whole=wording.whole,
        compact=wording.compact,
        duration=wording.duration,
        plural=wording.plural,
        setting=wording.setting,
        class_sentence=_class_sentence,
    )
    return environment.get_template(name)


def _class_sentence(per_class: Mapping[str, int]) -> str:
    """The classes with their counts; names that are written from right to left leave the others in order."""
    if len(per_class) > CLASSES_SHOWN:
        return class_sentence(per_class)
    return class_sentence({wording.isolated(name): count for name, count in per_class.items()})
