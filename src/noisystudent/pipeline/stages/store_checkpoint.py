"""The end of a stage that trains a network: its checkpoint is checked, written and closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noisystudent.artifacts.folder import disk_full_as_error, write_json
from noisystudent.errors import TrainingError
from noisystudent.models.card import CARD
from noisystudent.models.checkpoint import CHECKPOINT, save_classifier
from noisystudent.models.classifier import Classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.finite import broken_tensors
from noisystudent.models.training_images import write_training_images
from noisystudent.pipeline.checkpoints import BESIDE_WEIGHTS, TRAINING
from noisystudent.pipeline.context import RunContext
from noisystudent.results.run import StageCost
from noisystudent.training.state import STATE


@dataclass(frozen=True)
class TrainedWeights:
    """What the training loop returned, its steps, the samples that the weights had seen before, and its seconds."""

    classifier: Classifier
    steps: int
    samples_before: int
    seconds: float


def store_checkpoint(
    context: RunContext,
    inputs: Mapping[str, Any],
    cost: StageCost,
    trained: TrainedWeights,
    extra: Mapping[str, Any],
    digests: tuple[str, ...] | None,
) -> None:
    """Writes the checkpoint of the stage that ``cost`` names and commits it; the main process writes.

    Args:
        context: the run.
        inputs: all that decides the weights.
        cost: what the stage took, and its name.
        trained: the weights.
        extra: further values of its config.json.
        digests: of the labeled images, where predictions will decode images as the training did.

    Raises:
        TrainingError: a weight is not finite.
    """
    classifier, stage = trained.classifier, cost.name
    if broken := broken_tensors(classifier):
        raise TrainingError(
            f"{stage} ends with weights that are not finite (first {broken[0]}): its training diverged. Lower "
            "train.learning_rate or train.clip, or lengthen train.warmup, and run again."
        )
    folder = context.folder_of(stage)
    training = {
        "model": classifier.name,
        "parameters": count_parameters(classifier),
        "steps": trained.steps,
        "samples_seen": cost.samples_seen,
        "weights_samples_seen": cost.samples_seen + trained.samples_before,
        "seconds": round(trained.seconds, 2),
    }

    def finish() -> None:
        with disk_full_as_error(folder / "model.safetensors"):
            save_classifier(classifier, folder, extra=extra)
        if digests is not None:
            write_training_images(folder, digests)
        write_json(folder / TRAINING, training)
        context.commit(CHECKPOINT, inputs, cost, volatile=BESIDE_WEIGHTS, temporary=(STATE,), editable=(CARD,))
        (folder / STATE).unlink(missing_ok=True)

    context.engine.group.on_main(finish)
