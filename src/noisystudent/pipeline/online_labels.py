"""What an online student learns where the settings leave it open: hard labels of sure answers, or soft ones of all.

Few answers of a weak teacher reach the threshold, and those that do are often wrong: on CIFAR-10 with 100 labels, 27%
did, and the student lost 2.6 points to labels alone; with soft labels of all images it was level. On the sets where
hard labels gain, 44 to 70% did (NOTEBOOK.md).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.data.sample import evenly_spread
from noisystudent.display.wording import percent
from noisystudent.losses.settings import METHODS_WITH, OnlineSettings
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.online import ONLINE
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.train_data import TrainSpec
from noisystudent.results.facts import OnlineLabelsChoice
from noisystudent.results.run import StageCost

LABELS_CHOICE = f"{ONLINE}/choice"  # the stage
FEWEST_SURE = 1 / 3  # of the unlabeled images, below which a student learns soft labels
LOOKED_AT = 4  # shards of unlabeled images, evenly spread


def chooses_labels(online: OnlineSettings) -> bool:
    """Whether a run has to choose between hard and soft labels for its online student."""
    return online.labels == "auto" and online.method in METHODS_WITH["threshold"]


def with_chosen_labels(context: RunContext, spec: TrainSpec, teacher: Checkpoint) -> TrainSpec:
    """The spec of an online student with hard labels above the threshold, or soft labels of all images.

    Args:
        context: The run.
        spec: What the student learns from.
        teacher: The model before it.
    """
    assert spec.online
    if not chooses_labels(spec.online):
        return spec
    choice = _choice(context, spec.online, teacher)
    sure, fewest = percent(choice.sure / max(1, choice.images)), percent(FEWEST_SURE)
    learned = (
        "so the online student learns sure answers as hard labels"
        if choice.labels == "hard"
        else f"fewer than {fewest}, so the online student learns soft labels of all images (online.labels hard insists)"
    )
    context.reporter.say(f"{teacher.name} is sure of {sure} of the unlabeled images, {learned}")
    threshold = {} if choice.labels == "hard" else {"threshold": 0.0}
    online = spec.online.model_copy(update={"labels": choice.labels, **threshold})
    return replace(spec, online=online, objective={**spec.objective, "online": online.model_dump()})


def _choice(context: RunContext, online: OnlineSettings, teacher: Checkpoint) -> OnlineLabelsChoice:
    folder, unlabeled = context.folder_of(LABELS_CHOICE), context.splits.unlabeled
    inputs: dict[str, Any] = {
        "teacher": teacher.fingerprint,
        "unlabeled": unlabeled.fingerprint,
        "threshold": online.threshold,
        "precision": context.settings.runtime.precision,
    }
    if not context.is_complete(LABELS_CHOICE, inputs):
        model = teacher.teacher(context.device)
        shards = evenly_spread(len(unlabeled.shard_sizes), LOOKED_AT).tolist()
        answers = np.concatenate([predict(context, model, unlabeled.read(shard)) for shard in shards])
        sure = int((answers.max(axis=1, initial=-np.inf) >= np.log(online.threshold)).sum())
        choice = OnlineLabelsChoice(
            images=len(answers),
            sure=sure,
            threshold=online.threshold,
            labels="hard" if sure >= FEWEST_SURE * len(answers) else "soft",
        )

        def write() -> None:
            write_result(folder / "summary.json", choice)
            context.commit(ONLINE, inputs, StageCost(name=LABELS_CHOICE, images_predicted=len(answers)))

        context.engine.group.on_main(write)
    return read_result(OnlineLabelsChoice, folder / "summary.json")
