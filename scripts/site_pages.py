#!/usr/bin/env python3
"""Gathers the pages of the site: those of the repository, and the reference, which is made from the code.

    python scripts/site_pages.py write    # build/pages, which zensical.toml names
    python scripts/site_pages.py check    # every link of build/site, to files too, leads somewhere

build/pages has the layout of the repository, so a link is the same on the site and in the repository.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args
from urllib.parse import unquote, urlsplit

from noisystudent.commands.main import COMMANDS, main
from noisystudent.commands.options import add_settings
from noisystudent.commands.parser import SOURCES, Parser
from noisystudent.config import USED, Command

ROOT = Path(__file__).parents[1]
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"
COPIED = ("docs", "examples", "configs")
HELP_COLUMNS = "84"  # what fits beside the navigation

# Functions and classes of the reference; the settings have a page of their own.
FUNCTIONS = (
    ("Whole runs", ("run", "plan", "distill", "study", "plan_study", "demo")),
    ("Single stages", ("train", "pretrain", "fix", "label", "select")),
    ("Use and measure", ("load", "predict", "export", "evaluate", "robustness", "compare", "table")),
    ("Data and pages", ("check", "pack", "munge", "show_noise", "report", "open_run")),
    ("Classes", ("Run", "Predictor", "NoisyStudentClassifier", "Study", "Cell")),
    ("What your own code gets and returns", ("Batch", "LossTerms", "PredictionColumns")),
    (
        "Results",
        (
            "RunSummary", "Verdict", "Checkpoint", "Pretrained", "ProbeResult", "PlanResult", "SelectionSummary",
            "EvaluationResult", "PredictionSummary", "FixResult", "RobustnessResult", "ComparisonResult",
            "StudyResult", "ArticleTable",
        ),
    ),
    ("Errors", ("NoisyStudentError",)),
)  # fmt: skip

# What the names of types in the tables stand for.
TYPES = (
    "- `SourceLike`: text or a path, as in [sources](../docs/sources.md), or [a source of your own]"
    "(../docs/extending.md#a-source-of-your-own)",
    "- `ModelLike`: the folder of a checkpoint or a run, `timm:NAME`, or a `Predictor`",
    "- `SettingsInput`: nested mappings, dotted names or settings objects, or several of them; "
    "[settings](settings.md) lists all",
    "- `ObjectiveFunction`, `SelectRows`, `ModelFactory`, `BatchTransform`: your own code, as in "
    "[extending](../docs/extending.md)",
)


def api_page() -> str:
    """The public functions and classes, each with its docstring."""
    lines = ["# Python", "", "Everything here is imported from `noisystudent`.", "", *TYPES, ""]
    for title, names in FUNCTIONS:
        lines += [f"## {title}", ""]
        for name in names:
            lines += [f"::: noisystudent.{name}", ""]
    return "\n".join(lines)


def commands_page() -> str:
    """The help of every command, as it prints it."""
    lines = [
        "# Commands",
        "",
        "`noisystudent COMMAND --help` prints the same. Settings have [their page](settings.md).",
        "",
    ]
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = HELP_COLUMNS
    for command in COMMANDS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main([command, "--help"])
        lines += [f"## {command}", "", "```text", printed.getvalue().rstrip(), "```", ""]
    if before is None:
        del os.environ["COLUMNS"]
    else:
        os.environ["COLUMNS"] = before
    return "\n".join(lines)


def settings_page() -> str:
    """Every setting by section: what it takes, its default in ``run``, and which commands use it."""
    lines = [
        "# Settings",
        "",
        "Each is an option (`--train.steps 500`), a line of a file (`--config FILE`) and a name in Python "
        '(`settings={"train.steps": 500}`). A setting that a command does not use is an error there. '
        "Defaults are those of `run`, or of the first command that uses the setting.",
        "",
    ]
    rows = _settings_rows()
    for section in dict.fromkeys(section for section, *_ in rows):
        lines += [f"## {section}", "", "| setting | what it is |", "|---|---|"]
        for at, name, takes, text, users in rows:
            if at == section:
                lines.append(f"| `{name}`<br>`{takes.replace(',', ', ')}` | {text}<br><small>in {users}</small> |")
        lines.append("")
    return "\n".join(lines)


def _settings_rows() -> list[tuple[str, str, str, str, str]]:
    """Section, name, what it takes, meaning, commands; the order is that of the help."""
    rows: dict[str, tuple[str, str, str, str, str]] = {}
    for command in get_args(Command):
        parser = Parser(command, "")
        add_settings(parser, command)
        for group in parser.settings.values():
            for action in group._group_actions:
                name = action.dest
                users = ", ".join(user for user in get_args(Command) if name in USED[user])
                text = str(action.help).replace("%%", "%")
                row = (group.title or SOURCES, name, str(action.metavar), text, users)
                rows.setdefault(name, tuple(_cell(part) for part in row))  # type: ignore[arg-type]
    sections = list(dict.fromkeys(row[0] for row in rows.values()))
    return sorted(rows.values(), key=lambda row: sections.index(row[0]))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


GENERATED = {
    "reference/api.md": api_page,
    "reference/commands.md": commands_page,
    "reference/settings.md": settings_page,
}


def write() -> None:
    """Writes build/pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    for page in (*ROOT.glob("*.md"), ROOT / "LICENSE"):
        shutil.copy(page, PAGES)
    for folder in COPIED:
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, PAGES / folder)
    for name, page in GENERATED.items():
        (PAGES / name).parent.mkdir(exist_ok=True)
        (PAGES / name).write_text(page(), encoding="utf-8")


class _Links(HTMLParser):
    """The targets of a page's links and images."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if name in ("href", "src") and value and tag != "base"]


def broken_links(site: Path) -> Iterator[str]:
    """Links of a built site to files that are not there; zensical checks those between pages, anchors included."""
    for page in sorted(site.rglob("*.html")):
        if page.name == "404.html":  # its links are absolute
            continue
        links = _Links()
        links.feed(page.read_text(encoding="utf-8"))
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            if not (page.parent / unquote(parts.path)).exists():
                yield f"{page.relative_to(site)}: {target}"


def check() -> None:
    """Ends with the broken links of build/site, if there are any."""
    if broken := list(broken_links(SITE)):
        sys.exit("links of the site that lead nowhere:\n" + "\n".join(broken))


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1] if len(sys.argv) > 1 else "write"]()
