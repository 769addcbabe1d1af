"""The page of a run: one HTML file that needs no other file, no network and no script."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from noisystudent.artifacts.folder import atomic_write
from noisystudent.errors import ArtifactError, DataError
from noisystudent.evaluation.verdict import Verdict
from noisystudent.reporting import views
from noisystudent.reporting.images import data_uri, png_uri
from noisystudent.reporting.read import read_run
from noisystudent.reporting.records import RunRecord
from noisystudent.reporting.robustness import robustness_view
from noisystudent.reporting.table import (
    advice_sentence,
    comparison_sentence,
    cost_sentence,
    summary_rows,
    table_caption,
    table_columns,
    verdict_sentence,
)
from noisystudent.reporting.templates import template

LoadImages = Callable[[str, list[str]], dict[str, np.ndarray]]

KEYS_LISTED = 100  # images left out per source; the others are only counted
NAMES_LISTED = 10  # of the things of one kind that a source passes over


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Data URIs by role and key; ``problem`` says why some or all are missing."""

    uris: dict[str, dict[str, str]] = field(default_factory=dict)
    problem: str = ""


def write_report(run_folder: Path, *, load_images: LoadImages | None, out: Path | None = None) -> Path:
    """Writes the page of a finished run; the same folder and images give the same bytes.

    Args:
        run_folder: the folder of the run.
        load_images: from a role (``"test"`` or ``"unlabeled"``) and keys to images by key, uint8 [H, W] or [H, W, C];
            keys that it leaves out are gaps on the page, and None leaves out all images.
        out: the file to write; None writes ``report.html`` in the run folder.

    Returns:
        The path of the page.

    Raises:
        ArtifactError: the folder has no ``summary.json`` or ``run.json``, one of its files is damaged, or the page
            cannot be written.
    """
    return write_page(*open_page(Path(run_folder), load_images), out=out)


def open_page(run_folder: Path, load_images: LoadImages | None) -> tuple[RunRecord, Thumbnails]:
    """Everything that the page of a run shows, read from its folder and its sources."""
    record = read_run(run_folder)
    return record, load_thumbnails(record, load_images)


def write_page(record: RunRecord, thumbnails: Thumbnails, *, out: Path | None = None) -> Path:
    """Writes the page of what ``open_page`` read and returns its path; arguments and errors as in ``write_report``."""
    page = render_page(record, thumbnails)
    out = Path(out) if out is not None else record.folder / "report.html"
    try:
        with atomic_write(out) as temporary:
            temporary.write_bytes(page.encode("utf-8", errors="replace"))
    except OSError as error:
        raise ArtifactError(
            f"the report cannot be written to {out}: {error.strerror or error}. Name another file for it."
        ) from error
    return out


def render_page(record: RunRecord, thumbnails: Thumbnails) -> str:
    """The page as HTML text; every text from the run is escaped."""
    summary, facts = record.summary, record.facts
    settings = views.setting_views(facts.settings, facts.origins)
    return template("page.html").render(
        record=record,
        summary=summary,
        facts=facts,
        name=record.folder.resolve().name,
        headline=_headline(summary.verdict),
        verdict_chart=views.verdict_chart(summary.verdict),
        columns=table_columns(summary),
        advice=advice_sentence(summary),
        drift=next((record.drift for record in reversed(summary.rounds) if record.drift), ()),
        compared=comparison_sentence(summary),
        cost=cost_sentence(summary.cost, facts.machine),
        rows=summary_rows(summary),
        table_caption=table_caption(summary),
        robustness=robustness_view(summary.robustness) if summary.robustness else None,
        progress_chart=views.progress_chart(summary),
        rounds=views.round_views(record),
        student=views.student_view(summary),
        reason_text=views.reason_text,
        classes_in_tables=views.CLASSES_IN_TABLES,
        keys_listed=KEYS_LISTED,
        names_listed=NAMES_LISTED,
        sources={role: source for role, source in facts.sources.items() if source is not None},
        chosen_settings=[setting for setting in settings if setting.origin != "default"],
        default_settings=[setting for setting in settings if setting.origin == "default"],
        online_method=views.online_method(facts.settings),
        pretraining_method=views.pretraining_method(facts.settings),
        command=shlex.join(facts.command),
        thumbnails=thumbnails,
        noise_sheet=png_uri(record.noise_sheet) if record.noise_sheet else None,
    )


def load_thumbnails(record: RunRecord, load_images: LoadImages | None) -> Thumbnails:
    """Loads the images that the page shows; a source that cannot be read becomes a sentence on the page."""
    if load_images is None:
        return Thumbnails(problem="The images are not shown because the page was written without access to them.")
    uris: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    for role, keys in _keys_shown(record).items():
        try:
            pixels = load_images(role, keys) if keys else {}
            uris[role] = {key: data_uri(pixels[key]) for key in keys if key in pixels}
        except (DataError, OSError) as error:
            problems.append(f"The {role} images could not be loaded: {error}")
    return Thumbnails(uris, " ".join(problems))


def _keys_shown(record: RunRecord) -> dict[str, list[str]]:
    examples, mistakes = record.examples, record.mistakes
    groups = (examples.most_confident, examples.least_confident, *examples.rejected.values()) if examples else ()
    return {
        "test": _unique(image.key for image in mistakes.images) if mistakes else [],
        "unlabeled": _unique(example.key for group in groups for example in group),
    }


def _headline(verdict: Verdict) -> str:
    # A p-value that breaks over two lines is hard to read.
    return re.sub(r"p ([<=]) ", "p\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", verdict_sentence(verdict))


def _unique(keys: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(keys))
