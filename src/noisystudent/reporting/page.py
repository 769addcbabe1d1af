"""The page of a run: one HTML file that needs no other file and no network; without scripts, only its map is lost."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from noisystudent.artifacts.folder import atomic_write
from noisystudent.errors import ArtifactError
from noisystudent.reporting import views
from noisystudent.reporting.advice import advice_of
from noisystudent.reporting.first_screen import (
    cards,
    chart_caption,
    first_chart,
    first_words,
    gains,
    sections,
    signs_without_labels,
    use_of_model,
)
from noisystudent.reporting.images import png_uri
from noisystudent.reporting.map_view import map_view
from noisystudent.reporting.read import NO_TRUTH, read_run
from noisystudent.reporting.records import PseudoLabel, RunRecord
from noisystudent.reporting.resolution import fix_chart
from noisystudent.reporting.robustness import robustness_view
from noisystudent.reporting.table import (
    advice_sentence,
    comparison_sentence,
    cost_sentence,
    fix_sentence,
    small_student_sentence,
    summary_rows,
    table_caption,
    table_columns,
    verdict_sentence,
)
from noisystudent.reporting.templates import template
from noisystudent.reporting.thumbnails import LoadImages, Thumbnails, load_thumbnails

Values = dict[str, Any]  # of a template, which has no types

SHOWN = 24  # images of each list of the findings
KEYS_LISTED = 100  # images left out per source; the others are only counted
NAMES_LISTED = 10  # of the things of one kind that a source passes over


def write_report(
    run_folder: Path,
    *,
    load_images: LoadImages | None,
    truth: Mapping[str, int] = NO_TRUTH,
    out: Path | None = None,
) -> Path:
    """Writes the page of a finished run; the same folder and images give the same bytes.

    Args:
        run_folder: the folder of the run.
        load_images: from a role (``"test"`` or ``"unlabeled"``) and keys to images by key, uint8 [H, W] or [H, W, C];
            keys that it leaves out are gaps on the page, and None leaves out all images.
        truth: the true class of unlabeled images by key, as an index, where it is known.
        out: the file to write; None writes ``report.html`` in the run folder.

    Returns:
        The path of the page.

    Raises:
        ArtifactError: the folder has no ``summary.json`` or ``run.json``, one of its files is damaged, or the page
            cannot be written.
    """
    return write_page(*open_page(Path(run_folder), load_images, truth), out=out)


def open_page(
    run_folder: Path, load_images: LoadImages | None, truth: Mapping[str, int] = NO_TRUTH
) -> tuple[RunRecord, Thumbnails]:
    """Everything that the page of a run shows, read from its folder and its sources."""
    record = read_run(run_folder, truth)
    return record, load_thumbnails(record.folder, _keys_shown(record), load_images)


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
    script = files("noisystudent.reporting").joinpath("page.js").read_text(encoding="utf-8")
    values = {**_first_screen(record), **_findings(record), **_details(record)}
    return template("page.html").render(
        record=record,
        summary=summary,
        facts=facts,
        name=record.folder.resolve().name,
        script=Markup(script),
        script_hash=script_hash(script),
        sections=sections(_present(values)),
        thumbnails=thumbnails,
        **values,
    )


def _first_screen(record: RunRecord) -> Values:
    return {
        "headline": first_words(record),
        "verdict_chart": views.verdict_chart(record.summary.verdict),
        "round_chart": first_chart(record),
        "round_caption": chart_caption(record),
        "use": use_of_model(record),
        "signs": signs_without_labels(record),
        "cards": cards(record),
    }


def _findings(record: RunRecord) -> Values:
    summary, found = record.summary, record.findings
    return {
        "findings": found,
        "gain": gains(record),
        "advice_list": advice_of(record),
        "verdict_sentence": verdict_sentence(summary.verdict),
        "advice": " ".join(filter(None, [advice_sentence(summary), small_student_sentence(summary)])),
        "drift": next((result.drift for result in reversed(summary.rounds) if result.drift), ()),
        "compared_sentence": comparison_sentence(summary),
        "won_lost": record.won_lost,
        "map": map_view(record.image_map, found, summary.classes) if record.image_map and found else None,
        "shown": SHOWN,
    }


def _details(record: RunRecord) -> Values:
    summary, facts = record.summary, record.facts
    settings = views.setting_views(facts.settings, facts.origins)
    return {
        "columns": table_columns(summary),
        "cost": cost_sentence(summary.cost, facts.machine),
        "rows": summary_rows(summary),
        "table_caption": table_caption(summary),
        "robustness": robustness_view(summary.robustness) if summary.robustness else None,
        "resolution_chart": fix_chart(summary),
        "fix_sentence": fix_sentence,
        "progress_chart": views.progress_chart(summary),
        "rounds": views.round_views(record),
        "class_shares": views.class_share_views(record),
        "student": views.student_view(summary),
        "reason_text": views.reason_text,
        "classes_in_tables": views.CLASSES_IN_TABLES,
        "keys_listed": KEYS_LISTED,
        "names_listed": NAMES_LISTED,
        "sources": {role: source for role, source in facts.sources.items() if source is not None},
        "chosen_settings": [setting for setting in settings if setting.origin != "default"],
        "default_settings": [setting for setting in settings if setting.origin == "default"],
        "online_method": views.online_method(facts.settings),
        "online_answers": views.online_answers(facts.settings),
        "command": shlex.join(facts.command),
        "noise_sheet": png_uri(record.noise_sheet) if record.noise_sheet else None,
        # A distillation and a run with an online student alone store no pseudo labels.
        "distilled": bool(summary.rounds) and summary.rounds[0].selected is None,
        "start": facts.start,
        "pretraining_method": views.pretraining_method(facts.settings),
    }


def _present(values: Values) -> dict[str, bool]:
    """Which sections the page has, by anchor; those that it always has are left out."""
    found, distilled = values["findings"], bool(values["distilled"])
    return {
        **dict.fromkeys(("label-issues", "out-of-class", "label-next"), found is not None),
        "label-for-test": bool(found and found.label_for_test and not values["student"]),
        "won-lost": values["won_lost"] is not None,
        "map": values["map"] is not None,
        "robustness": values["robustness"] is not None,
        "resolution": values["resolution_chart"] is not None,
        "class-shares": bool(values["class_shares"]),
        "rounds": not distilled,
        "examples": not distilled,
        "start": values["start"] is not None or bool(values["pretraining_method"]),
        "distilled": distilled,
    }


def script_hash(script: str) -> str:
    """What the content security policy calls an inline script that it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _keys_shown(record: RunRecord) -> dict[str, list[str]]:
    examples, mistakes, found, compared = record.examples, record.mistakes, record.findings, record.won_lost
    groups: tuple[tuple[PseudoLabel, ...], ...] = ()
    if examples:
        groups = (examples.wrong, examples.most_confident, examples.least_confident, *examples.rejected.values())
    keys: dict[str, list[str]] = {
        "test": [image.key for image in mistakes.images] if mistakes else [],
        "unlabeled": [example.key for group in groups for example in group],
    }
    if found:
        keys["labeled"] = [issue.key for issue in found.label_issues[:SHOWN]]
        keys["unlabeled"] += [image.key for image in found.out_of_class[:SHOWN]]
        keys["unlabeled"] += [image.key for image in found.label_next[:SHOWN]]
        if record.summary.reporting_role() is None:
            keys["unlabeled"] += found.label_for_test[:SHOWN]
    if compared:
        keys.setdefault(compared.role, [])
        keys[compared.role] += [image.key for image in (*compared.won_images, *compared.lost_images)]
    return {role: list(dict.fromkeys(listed)) for role, listed in keys.items()}
