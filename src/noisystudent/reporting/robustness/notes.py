"""What must be said beside the numbers of a comparison of robustness: on what, made how, and what to doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from noisystudent.display import wording
from noisystudent.reporting.robustness.records import AttackScores, CorruptionScores, PerturbationScores, Robustness
from noisystudent.reporting.robustness.table import common_folder, shown_names


def measured_sentence(told: Robustness) -> str:
    """One sentence that says what was measured and on which images."""
    first = told.measured[told.first]
    where = f"the {told.role} source ({first.source})" if told.role else first.source
    return f"Measured on {wording.plural(first.count, 'image')} of {where}: {_joined(list(_measures(told)))}."


def notes(told: Robustness) -> list[str]:
    """What nobody should miss: how the images were made, and what differences are."""
    some = dict.fromkeys(one.classes for one in told.measured.values() if one.classes)
    found = [*(f"The images have {each}." for each in some), *_made(told)]
    if told.role == "validation":
        found.append(
            "Validation images also chose between settings and rounds, so the numbers are somewhat optimistic."
        )
    if told.differences:
        found.append(
            f"Differences are accuracies minus those of {shown_names(told)[told.first]}, in percentage points, with "
            "95% intervals over images."
        )
    if folder := common_folder(told):
        found.append(f"The checkpoints lie in {folder}.")
    return found


def explanations(told: Robustness) -> list[str]:
    """What the columns and charts mean, as far as they are there."""
    return [note for part in (_corruptions, _perturbations, _calibration, _attacks) for note in part(told)]


def natural_notes(told: Robustness) -> list[str]:
    """How the classes of each naturally shifted set were found among the classifiers'."""
    found = dict.fromkeys(
        f"{name}: {scores['classes']}."
        for one in told.measured.values()
        for name, scores in (one.natural or {}).items()
        if isinstance(scores.get("classes"), str)
    )
    return list(found)


def warnings(told: Robustness) -> list[str]:
    """The warnings of attacks, each with the classifiers that it is about."""
    about: dict[str, list[str]] = {}
    names = shown_names(told)
    for name, one in told.measured.items():
        for warning in one.attacks.warnings if one.attacks else ():
            about.setdefault(warning, []).append(names[name])
    return [f"{'All' if len(whose) == len(names) else ', '.join(whose)}: {warning}" for warning, whose in about.items()]


def _measures(told: Robustness) -> Iterator[str]:
    yield "accuracy"
    corruptions, perturbations = _corruption_scores(told), _perturbation_scores(told)
    if corruptions:
        count = max(len(each.errors) for each in corruptions)
        yield f"errors under {wording.plural(count, f'{_source(corruptions)} corruption')}"
    if perturbations:
        count = max(len(each.perturbations) for each in perturbations)
        yield f"changes of the answer along {wording.plural(count, f'{_source(perturbations)} perturbation')}"
    if _attack_scores(told):
        yield "accuracy under attack"
    if any(one.calibration for one in told.measured.values()):
        yield "calibration"


def _made(told: Robustness) -> Iterator[str]:
    made: dict[str, list[CorruptionScores | PerturbationScores]] = {
        "Corruptions": [each for each in _corruption_scores(told) if each.source == "generated"],
        "Perturbations": [each for each in _perturbation_scores(told) if each.source == "generated"],
    }
    what = [name for name, found in made.items() if found]
    if what:
        tables = sorted({str(each.table) for found in made.values() for each in found if each.table is not None})
        strengths = f", with the strengths published for {' and '.join(tables)} px" if tables else ""
        yield (
            f"{' and '.join(what).capitalize()} were generated from the images at hand{strengths}: their numbers are "
            "not those of the published files of ImageNet-C, CIFAR-10-C or ImageNet-P."
        )


def _corruptions(told: Robustness) -> Iterator[str]:
    found = _corruption_scores(told)
    missing = dict.fromkeys(name for each in found for name in each.missing)
    complete = sorted({each.present for each in found if each.present})
    if complete:
        these = " or ".join(map(str, complete))
        lacking = f" There is no {'; no '.join(map(_words, missing))}." if missing else ""
        yield f"Corrupted is the mean accuracy over {these} corruptions at all five severities.{lacking}"
    elif found:
        yield "Not all five severities of any corruption were measured, so there is no mean accuracy over them."
    without = {name for each in found for name in _missing_classes(each)}
    if without:
        yield f"The corrupted images have none of {wording.plural(len(without), 'class', 'classes')} of the model's."
    differences = [each.corruptions for each in told.differences.values() if each.corruptions]
    counts = sorted({each.conditions for each in differences if each.conditions})
    if counts:
        yield (
            f"Its difference is over the {' or '.join(map(str, counts))} conditions, corruption and severity, under "
            "which all were measured."
        )
    if any(each.alexnet for each in found):
        yield "mCE is in percent of AlexNet's errors on the published ImageNet-C: 100 is as bad, less is better."


def _perturbations(told: Robustness) -> Iterator[str]:
    found = _perturbation_scores(told)
    if found:
        missing = dict.fromkeys(name for each in found for name in each.missing)
        lacking = f" Their mean needs {_joined([*map(_words, missing)])} too." if missing else ""
        yield f"Flips are how often the answer changes between two frames of a sequence.{lacking}"
    for name in dict.fromkeys(each.relative.baseline for each in found if each.relative):
        yield f"mFR and mT5D are flips and top-5 distance in percent of those of {name}: less is better."


def _calibration(told: Robustness) -> Iterator[str]:
    if any(one.calibration for one in told.measured.values()):
        yield "ECE is the expected calibration error: 0% is perfect; under corruptions, of all of a severity together."
    if any(one.calibration and one.calibration.scaled for one in told.measured.values()):
        yield "Temperature scaling: each half of the images at the temperature that was fitted on the other half."


def _attacks(told: Robustness) -> Iterator[str]:
    yield from dict.fromkeys(_described(each) for each in _attack_scores(told))
    if _attack_scores(told):
        yield "Images that are wrong without an attack count as wrong under it. Better attacks may leave fewer right."


def _described(attacks: AttackScores) -> str:
    far = "every pixel by at most epsilon" if attacks.norm == "linf" else "an image as far as epsilon in every pixel"
    details = []
    if attacks.count is not None:
        details.append(wording.plural(attacks.count, "image"))
    if attacks.image:
        details.append(f"of {' x '.join(map(str, attacks.image))} values")
    text = f"Attacks move {far} ({attacks.norm}), in steps of 255"
    text += f", on {' '.join(details)}" if details else ""
    if attacks.steps is not None:
        text += f"; PGD takes {wording.plural(attacks.steps, 'step')}"
        text += f" from {wording.plural(attacks.restarts, 'start')}" if attacks.restarts is not None else ""
    return text + "."


def _corruption_scores(told: Robustness) -> list[CorruptionScores]:
    return [one.corruptions for one in told.measured.values() if one.corruptions]


def _perturbation_scores(told: Robustness) -> list[PerturbationScores]:
    return [one.perturbations for one in told.measured.values() if one.perturbations]


def _attack_scores(told: Robustness) -> list[AttackScores]:
    return [one.attacks for one in told.measured.values() if one.attacks]


def _missing_classes(found: CorruptionScores) -> set[str]:
    """The classes of which at least one condition has no images."""
    if isinstance(found.missing_classes, tuple):
        return set(found.missing_classes)
    return {name for names in found.missing_classes.values() for name in names}


def _source(found: Sequence[CorruptionScores | PerturbationScores]) -> str:
    return "generated" if any(each.source == "generated" for each in found) else "published"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
