"""The card of an exported model: data, training, scores, limits and license of a run, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from noisystudent.display.wording import compact, number, percent, plural
from noisystudent.reporting.table import verdict_sentence
from noisystudent.results.facts import RunFacts, SourceFacts
from noisystudent.results.run import RunSummary
from noisystudent.runtime.markdown import in_markdown

_ROLES = {
    "labeled": "trained on, with labels",
    "unlabeled": "trained on, with pseudo labels",
    "validation": "chose between models",
    "test": "only reported",
}
_WEAKEST = 3  # classes that the card names


@dataclass(frozen=True, slots=True, kw_only=True)
class CardContent:
    """What a card is made of.

    ``head``: its title and first sentence; ``usage``: how to run the model; ``license``: its name, or empty;
    ``calibration``: a sentence on the confidences; ``summary`` and ``facts``: of the run, if the model is that of one.
    """

    head: str
    usage: str
    license: str
    calibration: str
    summary: RunSummary | None = None
    facts: RunFacts | None = None


def model_card(content: CardContent) -> str:
    """The card, a README.md with the header that model hubs read; it names no folder of the machine."""
    title, _, sentence = content.head.partition("\n\n")
    header = {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "license": content.license or "unknown",
        "tags": ["image-classification", "noisy-student", "self-training"],
    }
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in header.items()), "---", title, "", sentence]
    sections = {
        "Use": content.usage,
        "Data": "\n".join(_data(content.facts)),
        "Training": "\n".join(_training(content.summary, content.facts)),
        "Scores": "\n".join(_scores(content.summary)),
        "Limits": "\n".join(_limits(content)),
        "License": "\n".join(_license(content)),
    }
    lines += [f"## {name}\n{text.rstrip()}\n" for name, text in sections.items()]
    return "\n".join(lines)


def _data(facts: RunFacts | None) -> Iterator[str]:
    if facts is None:
        yield "Not recorded: the model was exported without its run."
        return
    yield "| source | images | use |"
    yield "|---|---|---|"
    for role, use in _ROLES.items():
        source = facts.sources.get(role)
        if source:
            yield f"| {role}: {in_markdown(_place(source))} | {source.images:,} | {use} |"
    labeled = facts.sources.get("labeled")
    if labeled and labeled.per_class:
        counts = labeled.per_class.values()
        yield ""
        yield f"Labels per class: {min(counts):,} to {max(counts):,}, of {plural(len(counts), 'class', 'classes')}."


def _place(source: SourceFacts) -> str:
    """The name of a source without the folders that it lies in."""
    return PurePath(source.name).name or source.name


def _training(summary: RunSummary | None, facts: RunFacts | None) -> Iterator[str]:
    if summary is None or facts is None:
        yield "Not recorded."
        return
    student = summary.student
    if summary.recipe == "distillation":
        method = f"Knowledge distillation, {plural(len(summary.rounds), 'student')}"
    else:
        method = f"Noisy Student training (Xie et al., CVPR 2020), {plural(len(summary.rounds), 'round')}"
    seed = f", seed {summary.seed}" if summary.seed is not None else ""
    yield (
        f"{method}, with noisystudent {facts.version}, recipe {summary.recipe}{seed}. This is the model of "
        f"{in_markdown(summary.delivered)}: {in_markdown(student.model)} with {compact(student.parameters)} parameters."
    )
    if facts.start:
        start = facts.start
        yield f"It starts from {in_markdown(start.weights)}, trained on {in_markdown(start.trained_on)}."
    else:
        yield "No pretrained weights that it starts from are recorded."


def _scores(summary: RunSummary | None) -> Iterator[str]:
    role = summary.reporting_role() if summary else None
    scores = summary.student.scores(role) if summary else None
    if summary is None or scores is None:
        yield "Not measured: there were no labels aside."
        return
    yield "| measured on | images | top-1 | top-5 | calibration error | log loss |"
    yield "|---|---|---|---|---|---|"
    top5 = percent(scores.top5) if scores.top5 is not None else "-"
    yield (
        f"| {role} images | {scores.count:,} | {percent(scores.top1)} | {top5} | {percent(scores.ece)} | "
        f"{number(scores.nll)} |"
    )
    yield ""
    yield in_markdown(verdict_sentence(summary.verdict))
    if role == "validation":
        yield "The validation images also chose between models, so this accuracy can be too high."
    measured = {name: top1 for name, top1 in scores.per_class.items() if top1 is not None}
    if len(measured) > _WEAKEST:
        weakest = sorted(measured, key=lambda name: measured[name])[:_WEAKEST]
        yield f"Weakest classes: {', '.join(f'{in_markdown(name)} {percent(measured[name], 0)}' for name in weakest)}."


def _limits(content: CardContent) -> Iterator[str]:
    yield "- The scores hold for images like those of the source that they were measured on; others can be worse."
    yield "- Every image gets one of the classes: there is no answer for an image of none of them."
    yield f"- {content.calibration}"
    if content.facts and (labeled := content.facts.sources.get("labeled")) and labeled.per_class:
        fewest = min(labeled.per_class.values())
        if fewest < 10:
            yield f"- The smallest class has {plural(fewest, 'label')}, so its accuracy is known only roughly."
    yield "- Pseudo labels repeat the mistakes of the teacher, and may favor common classes."


def _license(content: CardContent) -> Iterator[str]:
    if content.license:
        yield f"{in_markdown(content.license)}, as stated at the export."
    else:
        yield "Not stated: whoever shares the model sets `license` above."
    if content.facts and content.facts.start:
        start = content.facts.start
        own = f": {in_markdown(start.notice)}" if start.notice else ""
        yield f"The weights that it starts from, {in_markdown(start.weights)}, have a license of their own{own}."
    yield "The images that it was trained on may restrict its use."
