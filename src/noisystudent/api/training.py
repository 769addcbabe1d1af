"""Single trainings: of a teacher, of a distilled student, of a resolution, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from noisystudent.api.requests import named_models, own_parts, resolved_request
from noisystudent.api.starts import take_start
from noisystudent.settings_input import SettingsInput, as_list

if TYPE_CHECKING:
    from noisystudent.api.requests import ModelLike, SourceLike
    from noisystudent.models.factory import ModelFactory
    from noisystudent.models.predictor import Predictor
    from noisystudent.noise.custom import BatchTransform
    from noisystudent.pipeline.checkpoints import Checkpoint
    from noisystudent.pipeline.extensions import ObjectiveFunction
    from noisystudent.pipeline.pretrain_single import Pretrained
    from noisystudent.pipeline.run_folder import Run
    from noisystudent.pseudo_labels.selection.custom import SelectRows
    from noisystudent.results.fix import FixResult


def distill(
    *,
    teacher: ModelLike | Sequence[ModelLike] | None = None,
    student: ModelLike | Sequence[ModelLike] | None = None,
    labeled: SourceLike | None = None,
    unlabeled: SourceLike | None = None,
    test: SourceLike | None = None,
    out: str | Path | None = None,
    start: ModelLike | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    model: ModelFactory | None = None,
    noise: BatchTransform | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> Run:
    """Distills one or several teachers into a student, or a chain of students (``docs/distillation.md``).

    Args:
        teacher: A checkpoint or run folder, ``timm:NAME``, a ``Predictor``, or the name of a model to train on the
            labels first; several are an ensemble.
        student: The name of the student's architecture; or a finished model, as for ``teacher``, whose weights the
            student starts from. Of several, each learns from the one before.
        labeled: Labeled images: a source.
        unlabeled: Unlabeled images: a source. One of the two is needed.
        test: Labeled images that only report.
        out: The folder of the distillation: the last student goes to ``best/``, the page to ``report.html``.
        start: The folder of an encoder that ``pretrain`` made: the setting ``model.backbone``.
        config: A YAML file of settings, under ``settings``.
        settings: Settings, over ``config`` and the recipe; the loss is their section ``distillation``.
        model: The factory of your own network for students, control and teachers that are trained here.
        noise: Your own noise, as in ``run``.
        verify: Check every byte of the stages that are finished already; otherwise models in full, other files by
            samples.
        quiet: No progress.

    Returns:
        The finished distillation; its verdict compares the last student with labels-only training of the same model and
        the same number of samples seen.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or failed training.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.models.predictor import Predictor
    from noisystudent.pipeline import distillation
    from noisystudent.pipeline.distillation import name_model
    from noisystudent.pipeline.run_folder import Run
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test}
    given, _ = take_start("distill", start, config, settings)
    predictors: dict[str, Predictor] = {}
    for setting, models in (("teachers", teacher), ("students", student)):
        if models is not None:
            listed = list(models) if isinstance(models, Sequence) and not isinstance(models, str) else [models]
            names = [name_model(member) for member in listed]
            given.append({f"distillation.{setting}": names})
            predictors |= {
                name: member for name, member in zip(names, listed, strict=True) if isinstance(member, Predictor)
            }
    resolved = resolved_request("distill", sources, out, config, given)
    distillation_settings = resolved.settings.distillation
    named = [*distillation_settings.teachers, *distillation_settings.students]
    require_output_folder(resolved.settings.out, [], named)
    extensions = own_parts(sources, model=model, noise=noise)
    summary = distillation.distill(
        resolved, reporter=Reporter(quiet=quiet), extensions=extensions, predictors=predictors, verify=verify
    )
    return Run(Path(resolved.settings.out), summary, extensions.model)


def train(
    labeled: SourceLike | None = None,
    *,
    out: str | Path | None = None,
    unlabeled: SourceLike | None = None,
    predictions: str | Path | None = None,
    selection: str | Path | None = None,
    start: ModelLike | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    objective: ObjectiveFunction | None = None,
    select: SelectRows | None = None,
    model: ModelFactory | str | None = None,
    noise: BatchTransform | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> Checkpoint:
    """Trains one model: a teacher on labels alone, or a student on labels and selected pseudo labels, or online.

    Args:
        labeled: Labeled images: a source.
        out: The folder of the checkpoint; by default as in ``run``.
        unlabeled: For a student: the unlabeled images. With the setting ``online.method``, it needs nothing else.
        predictions: For a student: the folder that ``label`` wrote for ``unlabeled``, or its URL.
        selection: For a student: the folder that ``select`` wrote from ``predictions``; or give ``select``.
        start: A model of these classes, as in ``evaluate``, from whose weights this one goes on, last layer included.
            The folder of an encoder that ``pretrain`` made is the setting ``model.backbone``.
            With the recipe ``bit``: weights of any classes, as ``model.backbone`` names them; the last layer is new.
        config: A YAML file of settings, under ``settings``.
        settings: Settings, over ``config`` and the recipe.
        objective: Your own loss, as in ``run``.
        select: Your own selection of ``predictions``, as in ``run``.
        model: Your own network, as in ``run``.
        noise: Your own noise, as in ``run``.
        verify: Check every byte of the stages that are finished already; otherwise models in full, other files by
            samples.
        quiet: No progress.

    Returns:
        The checkpoint: its folder, its size and what the training took.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or failed training.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.pipeline.single_model import train_single
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "unlabeled": unlabeled}
    given, start = take_start("train", start, config, settings)
    resolved = resolved_request("train", sources, out, config, given, model)
    require_output_folder(resolved.settings.out, [], [predictions, selection])
    extensions = own_parts(sources, objective=objective, select=select, model=model, noise=noise)
    return train_single(
        resolved,
        reporter=Reporter(quiet=quiet),
        extensions=extensions,
        verify=verify,
        predictions=predictions,
        selection=selection,
        start=start,
    )


def fix(
    labeled: SourceLike | None = None,
    *,
    checkpoint: ModelLike,
    out: str | Path | None = None,
    validation: SourceLike | None = None,
    size: int | Literal["auto"] | None = None,
    settings: SettingsInput | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> FixResult:
    """Fixes a trained model for a larger test size: its last layer learns from labels at that size (FixRes).

    Objects look smaller in the test than in training crops, which are random parts of an image, enlarged; a larger
    test size makes up for it (Touvron et al. 2019). ``docs/resolution.md`` says more.

    Args:
        labeled: Labeled images of the model's classes, such as those that it was trained on: a source.
        checkpoint: A model, as in ``evaluate``, but for a module.
        out: The folder of the fixed model; by default as in ``run``.
        validation: Labeled images on which the model is scored before and after.
        size: Edge of the input in pixels; ``auto`` (default): at which objects look as large as in training.
        settings: Settings of the sections ``fix`` and ``runtime``.
        verify: Check every byte of the stages that are finished already.
        quiet: No progress.

    Returns:
        The sizes, and the scores at both before the fix and at the larger one after it.

    Raises:
        NoisyStudentError: There is nothing to fix, or the model cannot be fixed, with one clear line.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.pipeline.fix.single import fix_single
    from noisystudent.runtime.progress import Reporter

    sources = {"labeled": labeled, "validation": validation}
    given = [*as_list(settings), *([{"fix.size": size}] if size is not None else [])]
    resolved = resolved_request("fix", sources, out, None, given)
    require_output_folder(resolved.settings.out, [], named_models([checkpoint]))
    own = own_parts(sources).sources
    reporter = Reporter(quiet=quiet)
    return fix_single(resolved, checkpoint, reporter=reporter, sources=dict(own), verify=verify)


def pretrain(
    unlabeled: SourceLike | None = None,
    *,
    labeled: SourceLike | None = None,
    test: SourceLike | None = None,
    validation: SourceLike | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    settings: SettingsInput | None = None,
    model: str | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> Pretrained:
    """Pretrains an encoder on images without labels (SimCLR), for other models to start from.

    ``train``, ``run`` and ``distill`` start from it with ``start``, or the setting ``model.backbone``.
    Killed at any moment and called again with the same arguments, it resumes.

    Args:
        unlabeled: Images: a source.
        labeled: Labeled images: a source. Pretraining shows them without their labels; with these, classifiers on the
            frozen features are scored on ``test``, else on ``validation``, else on a part of them that is set aside.
        test: Labeled images that only report; those that look like one of them are left out.
        validation: The same, where there are no test images.
        out: The folder of the encoder; by default as in ``run``.
        config: A YAML file of settings, under ``settings``.
        settings: Settings; the section ``pretraining`` is its own.
        model: The name of the network in timm; by default as in ``run``.
        verify: Check every byte of what is finished already.
        quiet: No progress.

    Returns:
        The encoder's checkpoint, and the scores of its features.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or failed training.
    """
    sources = {"labeled": labeled, "unlabeled": unlabeled, "test": test, "validation": validation}
    resolved = resolved_request("pretrain", sources, out, config, settings, model)
    from noisystudent.pipeline.pretrain_single import pretrain_single
    from noisystudent.runtime.progress import Reporter

    extensions = own_parts(sources)
    return pretrain_single(resolved, reporter=Reporter(quiet=quiet), extensions=extensions, verify=verify)
