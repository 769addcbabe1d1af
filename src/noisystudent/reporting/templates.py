"""The pages' templates: everything that they are given is escaped, and a name that is missing is an error."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from noisystudent.display import wording


def template(name: str) -> Template:
    """The template of this name, with the ways of writing numbers as filters."""
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
    )
    return environment.get_template(name)
