"""constraints.txt: it names every package that an installation for development brings, in versions for any Python."""

import re
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
OLDEST = "3.11.0"  # of the Pythons that pyproject.toml allows


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {normal(name): version for name, version in (line.split("==") for line in lines if not line.startswith("#"))}


def required_by(found: Distribution, extras: frozenset[str]):
    """The requirements of a distribution with some of its extras, on this platform with the oldest Python."""
    for text in found.requires or []:
        requirement = Requirement(text)
        environments = [{"extra": extra, "python_full_version": OLDEST} for extra in (*extras, "")]
        if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
            yield requirement


def installed_for_development() -> dict[str, Distribution]:
    """What ``pip install .[dev,docs]`` installs with the oldest Python, by normal name, this package aside."""
    waiting, seen, found = [("noisystudent", frozenset({"dev", "docs"}))], set(), {}
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        found[name] = distribution(name)
        waiting += [(normal(each.name), frozenset(each.extras)) for each in required_by(found[name], extras)]
    return {name: each for name, each in found.items() if name not in ("noisystudent", "setuptools")}


def test_every_package_is_there_in_its_version():
    versions = {name: each.version for name, each in installed_for_development().items()}
    assert len(versions) > 40
    if not versions["torch"].startswith(constraints()["torch"]):
        pytest.skip("this environment was not made by scripts/setup: its torch is another one")
    named = constraints()
    assert {name: version for name, version in versions.items() if named.get(name) != version.split("+")[0]} == {}


def test_every_version_takes_the_oldest_python():
    needs = {name: each.metadata["Requires-Python"] for name, each in installed_for_development().items()}
    assert {name: text for name, text in needs.items() if text and not SpecifierSet(text).contains(OLDEST)} == {}
