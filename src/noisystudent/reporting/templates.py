"""The templates of the pages: every value is escaped, and a missing name is an error."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from noisystudent.display import wording
from noisystudent.display.sources import class_sentence


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
        class_sentence=class_sentence,
    )
    return environment.get_template(name)
