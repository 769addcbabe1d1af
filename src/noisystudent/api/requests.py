"""What the public functions make of their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from noisystudent.artifacts.run_folders import choose_folder, keep_command
from noisystudent.config import Command, Resolved, given_values, read_settings, resolve
from noisystudent.errors import SettingsError
from noisystudent.settings_input import SettingsInput, as_list

if TYPE_CHECKING:
    from noisystudent.data.source import Source
    from noisystudent.models.factory import ModelFactory
    from noisystudent.models.predictor import Predictor
    from noisystudent.noise.custom import BatchTransform
    from noisystudent.pipeline.extensions import Extensions, ObjectiveFunction
    from noisystudent.pipeline.studies.cells import Study
    from noisystudent.pipeline.studies.study import StudyRequest
    from noisystudent.pseudo_labels.selection.custom import SelectRows

    SourceLike = str | Path | Source
    ModelLike = str | Path | Predictor


_WITHOUT_TRACE = ("plan", "check")  # commands that only look


def named_models(models: Sequence[ModelLike]) -> list[str | Path]:
    """The models that are given by a name or a place, not as objects."""
    return [model for model in models if isinstance(model, str | Path)]


def resolved_request(
    command: Command,
    sources: Mapping[str, SourceLike | None],
    out: str | Path | None,
    config: str | Path | None,
    settings: SettingsInput | None,
    model: ModelFactory | str | None = None,
) -> Resolved:
    """The settings of a command that trains, with what its arguments say; distill and pretrain need no labels."""
    given: dict[str, object] = {
        role: str(source) if isinstance(source, str | Path) else getattr(source, "name", "")
        for role, source in sources.items()
        if source is not None
    }
    if out is not None:
        given["out"] = str(out)
    if isinstance(model, str):
        given["model.teacher"] = model
    from noisystudent.data.output import require_output_folder

    values = {**(read_settings(Path(config)) if config else {}), **given_values([*as_list(settings), given])}
    folder = None if "out" in values else _chosen_folder(command, values)
    if folder:
        given["out"] = str(folder)
    resolved = resolve([*as_list(settings), given], Path(config) if config else None, command=command)
    chosen = resolved.settings
    named = [getattr(chosen, role) for role in ("labeled", "unlabeled", "validation", "test")]
    require_output_folder(chosen.out, [name for name in named if name])
    if not resolved.settings.labeled and command not in ("distill", "pretrain"):
        more = " photos/unlabeled" if command in ("run", "plan") else ""
        raise SettingsError(
            f"{command} needs labeled images, a folder with one folder per class: noisystudent {command} "
            f"photos/labeled{more}."
        )
    if resolved.settings.unlabeled is None and command in ("run", "plan"):
        raise SettingsError(
            f"{command} needs unlabeled images, too: noisystudent {command} photos/labeled photos/unlabeled "
            "(--unlabeled). To train on labels alone use 'noisystudent train'."
        )
    if folder and command not in _WITHOUT_TRACE:
        keep_command(folder, command, values)
    return resolved


def _chosen_folder(command: Command, values: Mapping[str, object]) -> Path:
    """The folder of a command that names none; plan and check have that of their run, and write nothing there."""
    from noisystudent.runtime.env import launcher_rank

    if launcher_rank()[1] > 1:
        raise SettingsError("several processes share this work and must agree on its folder; give --out.")
    return choose_folder("run" if command in _WITHOUT_TRACE else command, values)


def study_request(
    study: str | Study,
    sources: Mapping[str, str | Path | None],
    seeds: Sequence[int],
    out: str | Path | None,
    config: str | Path | None,
    settings: SettingsInput | None,
    shared: Sequence[str | Path] = (),
) -> StudyRequest:
    """The study that a name, a file or an object stands for, with what all its runs share."""
    from noisystudent.pipeline.studies.study import open_request

    named = {role: str(source) for role, source in sources.items() if source is not None}
    given = [*as_list(settings), named]
    return open_request(
        study,
        given,
        config=Path(config) if config else None,
        seeds=tuple(seeds),
        out=Path(out) if out else None,
        shared=tuple(map(Path, shared)),
    )


def own_parts(
    sources: Mapping[str, SourceLike | None],
    *,
    objective: ObjectiveFunction | None = None,
    select: SelectRows | None = None,
    model: ModelFactory | str | None = None,
    noise: BatchTransform | None = None,
) -> Extensions:
    """The user's own parts among a function's arguments; raises ``SettingsError`` for what cannot be called."""
    from noisystudent.data.source import require_source
    from noisystudent.pipeline.extensions import Extensions

    own_sources = {
        role: source for role, source in sources.items() if source is not None and not isinstance(source, str | Path)
    }
    for role, source in own_sources.items():
        require_source(source, labeled=role != "unlabeled")
    factory = None if isinstance(model, str) else model
    extensions = Extensions(objective=objective, select=select, model=factory, noise=noise, sources=own_sources)
    extensions.described()  # raises for what cannot be called
    return extensions
