"""A head on a frozen backbone as an ordinary checkpoint: the head's weights are the network's last layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from noisystudent.artifacts.folder import disk_full_as_error, write_json
from noisystudent.models.card import CARD
from noisystudent.models.checkpoint import CHECKPOINT, save_classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.last_layer import last_layer
from noisystudent.models.training_images import write_training_images
from noisystudent.pipeline.checkpoints import BESIDE_WEIGHTS, TRAINING, Checkpoint, read_checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.stage import RunFeatures
from noisystudent.results.run import StageCost
from noisystudent.training.linear_head import LinearHead


def head_stage(
    context: RunContext,
    stage: str,
    features: RunFeatures,
    inputs: Mapping[str, Any],
    fit: Callable[[], LinearHead],
) -> tuple[Checkpoint, LinearHead]:
    """The checkpoint and the head that ``fit`` gives, or those of the finished stage.

    Args:
        context: The run.
        stage: The name of the stage.
        features: What the head is fitted on; their classifier is its network.
        inputs: All else that decides the head.
        fit: Fits it.
    """
    inputs = {"stage": stage, "features": features.fingerprint, **inputs}
    folder = context.folder_of(stage)
    if not context.is_complete(stage, inputs):
        head = fit()

        def write() -> None:
            classifier = features.classifier
            head.put_into(last_layer(classifier))
            with disk_full_as_error(folder / "model.safetensors"):
                save_classifier(classifier, folder, extra={"tuned": "head"})
            write_training_images(folder, context.splits.labeled.digests)
            parameters = count_parameters(classifier.net)
            training = {"model": classifier.name, "parameters": parameters, "steps": 0, "samples_seen": 0, "seconds": 0}
            write_json(folder / TRAINING, training)
            context.commit(CHECKPOINT, inputs, StageCost(name=stage), volatile=BESIDE_WEIGHTS, editable=(CARD,))

        context.engine.group.on_main(write)
    checkpoint = read_checkpoint(stage, folder)
    return checkpoint, LinearHead.of(last_layer(checkpoint.load()))
