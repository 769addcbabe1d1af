"""The verb ``select`` as a function; it is not with the others because it needs no torch, which takes more memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import State, commit, folder_lock, prepare, read_json, read_manifest
from noisystudent.config import resolve
from noisystudent.data.store import fetched
from noisystudent.errors import ArtifactError, SettingsError
from noisystudent.pseudo_labels.predictions import PREDICTIONS, list_parts
from noisystudent.pseudo_labels.selection import SELECTION
from noisystudent.pseudo_labels.selection import select as select_rows


def select(
    *,
    predictions: str | Path,
    out: str | Path,
    round: int = 1,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, object]:
    """Chooses what training takes from predictions, into the folder ``out``; returns its summary.

    ``predictions`` may be the URL of a folder in an object store; they are then copied to the cache of this machine.
    ``settings`` holds names of the room ``selection``, such as ``selection.rule``; ``round`` matters to the
    curriculum only. Labels are not counted here, so a fraction of auto is that for few labels, 0.2.
    """
    predictions, out = fetched(predictions, PREDICTIONS), Path(out)
    chosen = resolve({"out": "unused", **(settings or {})}).settings.selection.settled(0)
    manifest = read_manifest(predictions, PREDICTIONS)
    classes = manifest.inputs.get("classes")
    if classes is None:
        raise ArtifactError(f"{predictions} does not name its classes; make it with 'noisystudent label'.")
    if round < 1:
        raise SettingsError(f"--round is {round}; rounds count from 1.")
    inputs = {
        "predictions": manifest.fingerprint,
        "selection": chosen.model_dump(),
        "round": round,
        "seed": seed,
    }
    with folder_lock(out):
        state, _ = prepare(out, inputs)
        if state is not State.COMPLETE:
            select_rows(out, list_parts(predictions), chosen, classes=classes, round_number=round, seed=seed)
            commit(out, SELECTION, inputs)
        summary: dict[str, object] = read_json(out / "summary.json")
    return summary
