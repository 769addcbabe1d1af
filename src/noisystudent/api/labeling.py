"""Pseudo labels: predictions of unlabeled images, and the choice among them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from noisystudent.api.requests import named_models
from noisystudent.config import runtime_to_predict, section_settings
from noisystudent.errors import SettingsError
from noisystudent.settings_input import SettingsInput

if TYPE_CHECKING:
    from noisystudent.api.requests import ModelLike
    from noisystudent.pseudo_labels.selection.results import SelectionSummary


def label(
    *,
    teacher: ModelLike,
    source: str | Path,
    out: str | Path,
    seed: int = 0,
    worker: str | None = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    settings: SettingsInput | None = None,
    quiet: bool = False,
) -> Path:
    """Labels every image of a source with a teacher's predictions, stored as Parquet parts.

    Images are decoded shard by shard, so memory does not grow with their number. Unreadable images have no row; they
    are listed in ``failed.parquet``. Any number of processes may call it with the same arguments, on machines that
    share ``out``. The result is the same, byte for byte, and all return when the predictions are complete.

    Args:
        teacher: A checkpoint folder, the folder of a run, ``timm:NAME``, or a ``Predictor`` such as ``load`` returns.
            A module can label in one process only.
        source: The images; see ``docs/sources.md``.
        out: The folder of the predictions, or its URL.
        seed: Seed of the noise with ``noise.teacher: true``, an ablation in the paper.
        worker: Number and count of this worker, such as ``3/16``; by default read from Slurm, Kubernetes or torchrun.
        workers: Number of processes to start on this machine; with Ray, the number of actors.
        engine: ``local``, or ``ray`` for a Ray cluster.
        settings: Settings of the sections ``runtime`` and ``noise``, and ``data.max_corrupt_fraction``.
        quiet: No progress.

    Returns:
        The folder; for a URL, a copy of what this machine made.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake, bad data or a failed worker.
    """
    from noisystudent.data.output import require_output_folder
    from noisystudent.data.settings import DataSettings
    from noisystudent.data.store import local_folder, store_url
    from noisystudent.models.predictor import Predictor
    from noisystudent.noise.settings import NoiseSettings
    from noisystudent.pseudo_labels.labeling.engines import run_job
    from noisystudent.pseudo_labels.labeling.job import Job, describe
    from noisystudent.pseudo_labels.labeling.teacher import runtime_of, teacher_text
    from noisystudent.runtime.precision import warn_of_emulation
    from noisystudent.runtime.progress import Reporter

    noise = section_settings(NoiseSettings, "noise", settings, command="label")
    data = section_settings(DataSettings, "data", settings, command="label")
    runtime = runtime_to_predict(settings, command="label")
    name, predictor = teacher_text(teacher), None
    if isinstance(teacher, Predictor):
        predictor = Predictor.open(teacher, runtime)
        runtime = runtime_of(predictor)
    if not isinstance(source, str | Path):
        raise SettingsError(
            f"label takes a source by text, such as a folder, and was given a {type(source).__name__}; other processes "
            "cannot open that. Write it to disk first, or train on it directly with run."
        )
    if seed and not noise.teacher:
        raise SettingsError(f"--seed {seed} has an effect only with noise.teacher true; leave it out.")
    require_output_folder(out, [source], named_models([teacher]), store=True)
    job = Job(
        teacher=name, source=str(source), out=local_folder(out), store=store_url(out), seed=seed,
        runtime=runtime, noise=noise, data=data,
    )  # fmt: skip
    reporter = Reporter(quiet=quiet)
    warn_of_emulation(runtime, reporter)
    run_job(job, predictor, worker=worker, workers=workers, engine=engine, reporter=reporter)
    reporter.say(describe(job))
    return job.out


def select(
    *,
    predictions: str | Path,
    out: str | Path,
    round: int = 1,
    seed: int = 0,
    settings: SettingsInput | None = None,
) -> SelectionSummary:
    """Selects the pseudo labels that a student trains on, from the predictions of a teacher.

    This function needs no torch: its memory is independent of the number of rows.

    Args:
        predictions: The folder that ``label`` wrote, or its URL, which is then copied to the cache of this machine.
        out: The folder of the selection.
        round: The number of the round, from 1; the rule ``curriculum`` selects more in later rounds.
        seed: Seed of the copies that balance the classes.
        settings: Settings of the section ``selection``. ``selection.fraction: auto`` means 0.2 here, because the
            labeled set is not available.

    Returns:
        How many rows were selected, in all and per class, and why the others were not.

    Raises:
        NoisyStudentError: The predictions are missing, damaged or of other classes, or a setting is wrong.
    """
    from noisystudent.artifacts.archives import prepare
    from noisystudent.artifacts.damage import reopen_damaged, require_whole
    from noisystudent.artifacts.folder import State, commit, state_of
    from noisystudent.artifacts.ownership import folder_lock
    from noisystudent.artifacts.typed_json import read_result
    from noisystudent.data.output import require_output_folder
    from noisystudent.data.store import fetched
    from noisystudent.errors import ArtifactError
    from noisystudent.pseudo_labels.predictions import PREDICTIONS, list_parts
    from noisystudent.pseudo_labels.selection.class_shares import named_shares
    from noisystudent.pseudo_labels.selection.parts import SELECTION
    from noisystudent.pseudo_labels.selection.results import SelectionSummary
    from noisystudent.pseudo_labels.selection.select import select as select_rows
    from noisystudent.pseudo_labels.selection.settings import SelectionSettings

    require_output_folder(out, [], [predictions])
    folder, out = fetched(predictions, PREDICTIONS), Path(out)
    chosen = section_settings(SelectionSettings, "selection", settings, command="select").resolve_auto(0)
    manifest = require_whole(folder, PREDICTIONS)
    classes = manifest.inputs.get("classes")
    if classes is None:
        raise ArtifactError(f"{folder} does not name its classes; make it with 'noisystudent label'.")
    if round < 1:
        raise SettingsError(f"--round is {round}; rounds count from 1.")
    if chosen.prior in ("labels", "estimated"):
        raise SettingsError(
            f"selection.prior {chosen.prior} needs the labels of a run, and select has predictions alone; name the "
            f"shares: uniform or CLASS=SHARE,... (classes: {', '.join(classes)})."
        )
    if round > 1 and chosen.rule != "curriculum":
        raise SettingsError(f"--round {round} has an effect only with selection.rule curriculum; leave it out.")
    inputs = {
        "predictions": manifest.fingerprint,
        "selection": chosen.deciding(),
        "round": round,
        "seed": seed,
    }
    with folder_lock(out):
        prepare(out, inputs)
        reopen_damaged(out, inputs)
        if state_of(out, inputs) is not State.COMPLETE:
            shares = named_shares(chosen.prior, classes)
            select_rows(out, list_parts(folder), chosen, classes=classes, round_number=round, seed=seed, shares=shares)
            commit(out, SELECTION, inputs)
        return read_result(SelectionSummary, out / "summary.json")
