"""The stages around ``selection.prior``: the class shares that a selection aims at, and predictions moved to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import read_manifest
from noisystudent.artifacts.typed_json import read_result, to_json, write_result
from noisystudent.data.splits import DataSplits
from noisystudent.data.stratified import single_labels
from noisystudent.display.wording import percent, printable
from noisystudent.errors import SettingsError
from noisystudent.pipeline.checkpoints import Labeler
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.score_stage import predict
from noisystudent.pseudo_labels.predictions import FAILED, PREDICTIONS, SUMMARY, list_parts, rewrite_part
from noisystudent.pseudo_labels.selection.class_shares import Shares, given_shares, named_shares
from noisystudent.pseudo_labels.selection.settings import NAMED_PRIORS, SelectionSettings
from noisystudent.pseudo_labels.shift import (
    SIGNIFICANT,
    Calibration,
    ClassShares,
    HeldOutAnswers,
    calibrate,
    estimate_shares,
    labeled_shares,
    sample_of,
)
from noisystudent.results.run import StageCost
from noisystudent.run_settings import RunSettings

CLASS_SHARES = "class-shares"
_SHOWN = 6  # classes whose shares are printed

Floats = npt.NDArray[np.float32]


def labeling_stage(settings: RunSettings, number: int) -> str:
    """The stage of a teacher's own predictions in a round; ``predictions`` are those that the student learns from."""
    changed = settings.selection.align == "prior" or settings.selection.neighbors == "mean"
    return f"round-{number}/{'teacher-predictions' if changed else 'predictions'}"


def stages_to_aim(settings: RunSettings, prefix: str) -> list[str]:
    """The stages of a round on networks, below ``prefix``, between the teacher's predictions and the selection."""
    if settings.selection.prior == "auto":
        return []
    aligned = [f"{prefix}/predictions"] if settings.selection.align == "prior" else []
    return [f"{prefix}/{CLASS_SHARES}", *aligned]


def class_shares(
    context: RunContext,
    stage: str,
    inputs: Mapping[str, Any],
    unlabeled: Callable[[], Floats],
    held_out: Callable[[], HeldOutAnswers | None],
) -> ClassShares | None:
    """The class shares that selections aim at; None for the rule's own aim.

    Args:
        context: The run.
        stage: The name of the stage.
        inputs: All that decides the answers.
        unlabeled: A teacher's log-probabilities for unlabeled images, [N, K].
        held_out: Its answers for labels that it did not see; None where there are no such labels.
    """
    prior, classes = context.settings.selection.prior, context.splits.classes
    if prior == "auto":
        return None
    reference = labeled_shares(context.splits.labeled.labels, len(classes))
    calibrates = prior == "estimated" or context.settings.selection.align == "prior"
    inputs = {
        "prior": prior,
        "classes": list(classes),
        "reference": reference.tolist(),
        "calibrated": calibrates,
        **inputs,
    }
    if not context.is_complete(stage, inputs):
        answers = held_out() if calibrates else None
        calibration = calibrate(answers) if answers else Calibration(1.0, np.zeros(len(classes)))
        shares, p_value = _aim(context.settings.selection, classes, reference), None
        if shares is None:
            assert answers, "require_prior has checked"
            shares, p_value = estimate_shares(unlabeled(), answers, calibration, reference)
        found = ClassShares(
            shares=dict(zip(classes, shares.tolist(), strict=True)),
            reference=dict(zip(classes, reference.tolist(), strict=True)),
            biases=dict(zip(classes, calibration.biases.tolist(), strict=True)),
            temperature=calibration.temperature,
            p_value=p_value,
        )

        def write() -> None:
            write_result(context.folder_of(stage) / SUMMARY, found)
            context.commit(CLASS_SHARES, inputs, StageCost(name=stage))

        context.engine.group.on_main(write)
    found = read_result(ClassShares, context.folder_of(stage) / SUMMARY)
    context.reporter.say(f"{stage}: {_in_words(prior, found)}")
    return found


def shares_for_network(
    context: RunContext, stage: str, predictions_folder: Path, teacher: Labeler
) -> ClassShares | None:
    """The same from a network's stored predictions; held-out labels are those of the validation set, if any."""
    validation = context.splits.validation

    def held_out() -> HeldOutAnswers | None:
        if validation is None:
            return None
        model = teacher.teacher(context.device)
        held = validation.predict_and_join(lambda images: predict(context, model, images))
        return HeldOutAnswers(held.log_probabilities, held.labels)

    inputs = {
        "predictions": read_manifest(predictions_folder, PREDICTIONS).fingerprint,
        "validation": validation.fingerprint if validation else None,
    }
    parts = list_parts(predictions_folder)
    return class_shares(context, stage, inputs, lambda: sample_of(parts, len(context.splits.classes)), held_out)


def align_predictions(context: RunContext, stage: str, folder: Path, aim: ClassShares) -> Path:
    """Predictions corrected for other class shares than those of the labels, in the folder of ``stage``."""
    aligned = context.folder_of(stage)
    inputs = {
        "predictions": read_manifest(folder, PREDICTIONS).fingerprint,
        "classes": list(context.splits.classes),
        "aligned": to_json(aim),
    }
    if not context.is_complete(stage, inputs):

        def write() -> None:
            for part in list_parts(folder):
                if not (aligned / part.name).exists():
                    rewrite_part(part, aligned / part.name, len(aim.shares), aim.correct)
            for name in (FAILED, SUMMARY):
                if (folder / name).exists():
                    (aligned / name).write_bytes((folder / name).read_bytes())
            context.commit(PREDICTIONS, inputs, StageCost(name=stage))

        context.engine.group.on_main(write)
    return aligned


def require_prior(settings: RunSettings, splits: DataSplits) -> None:
    """Raises ``SettingsError`` for a prior that does not fit the classes, or that nothing can estimate."""
    selection = settings.selection
    if selection.prior not in NAMED_PRIORS:
        given_shares(selection.prior, splits.classes)
    if selection.prior != "estimated":
        return
    if settings.model.tune == "head":
        for single in (splits.classes[label] for label in single_labels(splits.labeled.labels)):
            raise SettingsError(
                f"selection.prior estimated needs held-out labels of every class, and {single!r} has a single label; "
                "give a second one, or name the shares: labels, uniform or CLASS=SHARE,..."
            )
    elif splits.validation is None:
        raise SettingsError(
            "selection.prior estimated needs labels that the teacher did not see, and this run has no validation "
            "labels; give --validation or data.few_labels 0, or name the shares: labels, uniform or CLASS=SHARE,..."
        )


def _aim(selection: SelectionSettings, classes: Sequence[str], reference: Shares) -> Shares | None:
    """The shares that the settings name; None where they are estimated."""
    if selection.prior == "estimated":
        return None
    return reference if selection.prior == "labels" else named_shares(selection.prior, classes)


def _in_words(prior: str, found: ClassShares) -> str:
    """The shares in descending order, and what they rest on."""
    ordered = sorted(found.shares.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{printable(name)}: {percent(share)}" for name, share in ordered[:_SHOWN])
    more = f", and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    if found.p_value is None:
        return f"{shown}{more} ({prior if prior in NAMED_PRIORS else 'as given'})"
    differ = found.p_value < SIGNIFICANT
    return (
        f"{shown}{more} ({'estimated' if differ else 'those of the labels'}: the answers "
        f"{'show' if differ else 'do not show'} that the unlabeled set has others than the labels, p = "
        f"{found.p_value:.2g})"
    )
