"""The site of the documentation: every page is in its navigation, and its reference is complete."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import noisystudent
from noisystudent.commands.main import COMMANDS
from noisystudent.config import ALL_SETTINGS, USED
from project_scripts import load_script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site_pages():
    return load_script("site_pages")


def pages_of(navigation) -> Iterator[str]:
    for entry in navigation:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(target, str):
                yield target
            else:
                yield from pages_of(target)


def test_every_page_is_in_the_navigation_once(site_pages):
    navigation = list(pages_of(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
    there = [*(page.relative_to(ROOT).as_posix() for page in pages), *site_pages.GENERATED]
    assert sorted(navigation) == sorted(there)


def test_the_reference_has_every_public_name_once(site_pages):
    named = re.findall(r"^::: noisystudent\.(\w+)$", site_pages.api_page(), re.MULTILINE)
    elsewhere = {name for name in noisystudent.__all__ if name.endswith("Settings")} | {"parts"}
    assert sorted(named) == sorted(set(noisystudent.__all__) - elsewhere)


def test_the_reference_has_every_setting_with_what_it_takes(site_pages):
    rows = re.findall(
        r"^\| `([\w.]+)`<br>`(.+?)` \| (.+)<br><small>in (.+)</small> \|$", site_pages.settings_page(), re.MULTILINE
    )
    used = {name for names in USED.values() for name in names}
    assert sorted(name for name, *_ in rows) == sorted(used & set(ALL_SETTINGS))
    assert ("train.steps", "N") in [(name, takes) for name, takes, *_ in rows]
    users = {name: commands for name, _, _, commands in rows}
    assert users["selection.threshold"].split(", ") == [
        command for command, names in USED.items() if "selection.threshold" in names
    ]


def test_the_reference_has_the_help_of_every_command(site_pages):
    page = site_pages.commands_page()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == list(COMMANDS)
    usages = re.findall(r"^usage: noisystudent (.+)$", page, re.MULTILINE)
    assert len(usages) == len(COMMANDS)
    assert [usage for usage in usages if "None" in usage] == []
    assert "completion {bash,zsh,fish} [options]" in usages


def test_a_link_of_the_site_to_a_missing_file_is_found(site_pages, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a b.png").touch()
    (tmp_path / "index.html").write_text(
        '<a href="there/">a</a><img src="there/a%20b.png"><a href="#x">b</a><a href="https://example.org/">c</a>'
        '<a href="gone.yaml?raw#x">d</a>'
    )
    assert list(site_pages.broken_links(tmp_path)) == ["index.html: gone.yaml?raw#x"]
