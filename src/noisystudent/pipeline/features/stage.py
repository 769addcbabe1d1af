"""The features stage of a run: what a frozen backbone sees in the labeled and the unlabeled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import fingerprint_of, write_json
from noisystudent.data.images import Failure, Images, content_fingerprint
from noisystudent.display.wording import compact
from noisystudent.errors import SettingsError
from noisystudent.models.classifier import Classifier
from noisystudent.models.last_layer import last_layer
from noisystudent.models.predictor import Predictor
from noisystudent.models.settings import ModelPlan
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.store import FEATURES, FeatureStore, FeatureView, Half
from noisystudent.results.run import StageCost
from noisystudent.training.linear_head import LEAST_DEVIATION, Scaler

_STREAM = "feature-views"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shard:
    """The readable images of a shard of the unlabeled set, by key, and those that could not be read."""

    keys: tuple[str, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True, eq=False)
class RunFeatures:
    """The features of a run's images: a float16 array [N, F] per view, the plain view first.

    Attributes:
        labeled: Of the labeled images.
        unlabeled: Of the unlabeled images.
        shards: The unlabeled images in order.
        scaler: Mean and deviation of all of them, under all views.
        classifier: The frozen network, whose last layer is a head's place.
        plain: The store of plain features, for held-out images.
        fingerprint: Identifies what the features were computed from.
    """

    labeled: tuple[Half, ...]
    unlabeled: tuple[Half, ...]
    shards: tuple[Shard, ...]
    scaler: Scaler
    classifier: Classifier
    plain: FeatureStore
    fingerprint: str

    @property
    def points(self) -> Half:
        """The plain features of the labeled images, then of the unlabeled ones."""
        return np.concatenate([self.labeled[0], self.unlabeled[0]])


def stage_of_features(number: int) -> str:
    """The stage of the features of a backbone: 0 is the run's own, from 1 on are those that only label."""
    return f"{FEATURES}-{number}" if number else FEATURES


def features_to_label(context: RunContext, plan: ModelPlan, number: int) -> RunFeatures:
    """The plain features of the images of training, by one of ``teacher_backbones``, counted from 1.

    Raises what ``compute_features`` raises.
    """
    backbone = context.teacher_backbones[number - 1]
    of_backbone = replace(context, backbone=backbone)
    return compute_plain_features(of_backbone, replace(plan, name=backbone.architecture), number)


def compute_plain_features(context: RunContext, plan: ModelPlan, number: int = 0) -> RunFeatures:
    """The plain features alone; the arguments and errors are those of ``compute_features``."""
    head = context.settings.head.model_copy(update={"views": 0})
    return compute_features(replace(context, settings=context.settings.model_copy(update={"head": head})), plan, number)


def compute_features(context: RunContext, plan: ModelPlan, number: int = 0) -> RunFeatures:
    """The features of all images of a run, from the user's cache where they are stored.

    Args:
        context: The run.
        plan: The network's.
        number: That of the backbone; of those from 1 on, held-out images are left out.

    Raises:
        ModelError: The backbone's last layer is no linear layer on its features.
        SettingsError: The features do not fit into the memory that ``data.memory_limit_gb`` allows.
    """
    stores = open_stores(context, plan)
    network = stores[0].network
    assert network.classifier
    inputs = {
        "backbone": network.fingerprint,
        "size": network.size,
        "precision": network.precision,
        "engine": network.engine,
        "labeled": content_fingerprint(context.splits.labeled),
        "unlabeled": context.splits.unlabeled.fingerprint,
        "views": [store.view.identity for store in stores],
    }
    stage = stage_of_features(number)
    is_complete = context.is_complete(stage, inputs)
    shards: list[Shard] = []
    held_out = [source for source in (context.splits.validation, context.splits.test) if source and not number]
    sizes = context.splits.unlabeled.shard_sizes
    views = len(stores) * (len(context.splits.labeled) + sum(sizes)) + sum(map(len, held_out))
    with context.reporter.bar(stage, views, "views") as bar:
        labeled = _features(stores, context.splits.labeled, bar.advance)
        _require_memory(context, len(stores) * (len(context.splits.labeled) + sum(sizes)), labeled[0].shape[1])
        parts = []
        for shard in range(len(sizes)):
            images = context.splits.unlabeled.read(shard)
            shards.append(Shard(images.keys, tuple(images.failures)))
            parts.append(_features(stores, images, bar.advance))
        for source in held_out:
            source.predict_and_join(partial(_stored, stores[0]))
            bar.advance(len(source))
    width = labeled[0].shape[1]
    unlabeled = tuple(_joined([part[view] for part in parts], width) for view in range(len(stores)))
    if not is_complete:
        _commit(context, stage, stores, inputs, views)
    scaler = Scaler.of([*labeled, *unlabeled], least=LEAST_DEVIATION)
    return RunFeatures(labeled, unlabeled, tuple(shards), scaler, network.classifier, stores[0], fingerprint_of(inputs))


def open_stores(context: RunContext, plan: ModelPlan) -> list[FeatureStore]:
    """The stores of the run's views, the plain one first; raises ``ModelError`` as ``frozen_classifier``."""
    network = _predictor(context, frozen_classifier(context, plan))
    return [FeatureStore.open(network, view) for view in _views(context)]


def labeled_features(context: RunContext, plan: ModelPlan, images: Images) -> RunFeatures:
    """The plain features of labeled images alone, from the user's cache where they are stored.

    Raises ``ModelError`` if the backbone's last layer is no linear layer on its features.
    """
    classifier = frozen_classifier(context, plan)
    store = FeatureStore.open(_predictor(context, classifier), _plain_view(context))
    features = store.features(images)
    nothing = np.zeros((0, features.shape[1]), np.float16)
    inputs = {"backbone": store.network.fingerprint, "labeled": content_fingerprint(images)}
    scaler = Scaler.of([features], least=LEAST_DEVIATION)
    return RunFeatures((features,), (nothing,), (), scaler, classifier, store, fingerprint_of(inputs))


def frozen_classifier(context: RunContext, plan: ModelPlan) -> Classifier:
    """The backbone with an empty last layer; raises ``ModelError`` if a head cannot take its place."""
    assert context.backbone
    splits = context.splits
    size = plan.size or splits.format.size
    classifier = context.backbone.new_classifier(plan.name, classes=splits.classes, size=size)
    format = splits.format
    classifier.take_format(format)
    classifier.to(context.device).eval().requires_grad_(False)
    last_layer(classifier)
    return classifier


def _predictor(context: RunContext, classifier: Classifier) -> Predictor:
    assert context.backbone
    runtime = context.settings.runtime.settled()
    if runtime.engine == "onnx" and context.device.type != "cpu":
        raise SettingsError("runtime.engine onnx computes on a CPU; give runtime.device cpu too, or leave it out.")
    return Predictor.of_classifier(classifier.name, context.backbone.fingerprint, classifier, runtime)


def _plain_view(context: RunContext) -> FeatureView:
    return FeatureView({"view": "plain", "crop": context.splits.format.crop})


def _views(context: RunContext) -> list[FeatureView]:
    """The plain view and the noised ones; these have the same seed in all runs, so that runs share them."""
    noise, size, count = context.settings.noise, context.splits.format.size, context.settings.head.views
    if not count:
        return [_plain_view(context)]
    assert noise.strength != "auto"
    input_noise = InputNoise(
        noise,
        size=size,
        strength=noise.strength,
        rng=CounterRng(0, _STREAM),
        storage_size=context.splits.format.storage_size,
        crop=context.splits.format.crop,
    )
    left_out = ("preset", "strength", "strengths", "teacher", "dropout", "stochastic_depth", "mixup", "cutmix")
    identity = {
        "crop": context.splits.format.crop,
        "noise": noise.deciding(*left_out),
        "strength": noise.strength,
    }
    noised = [FeatureView({**identity, "number": number}, input_noise, number) for number in range(count)]
    return [_plain_view(context), *noised]


def _require_memory(context: RunContext, rows: int, width: int) -> None:
    needed, limit = rows * width * 2 / 1e9, context.settings.data.memory_limit_gb
    if needed > limit:
        raise SettingsError(
            f"the features of all images take {needed:.1f} GB of memory, and data.memory_limit_gb is {limit:g}; raise "
            "it, give fewer head.views or fewer images, or use model.tune all, which streams them."
        )


def _features(stores: Sequence[FeatureStore], images: Images, advance: Callable[[int], None]) -> tuple[Half, ...]:
    features = []
    for store in stores:
        features.append(store.features(images))
        advance(len(images))
    return tuple(features)


def _stored(store: FeatureStore, images: Images) -> Floats:
    """Computes and stores the features of held-out images; the answer is not used."""
    store.features(images)
    return np.zeros((len(images), 1), np.float32)


def _joined(parts: Sequence[Half], width: int) -> Half:
    filled = [part for part in parts if len(part)]
    return np.concatenate(filled) if filled else np.zeros((0, width), np.float16)


def _commit(
    context: RunContext, stage: str, stores: Sequence[FeatureStore], inputs: dict[str, Any], views: int
) -> None:
    folder = context.folder_of(stage)
    size = sum(store.size for store in stores)

    def write() -> None:
        write_json(folder / "summary.json", {"views": len(stores), "bytes": size})
        context.commit(FEATURES, inputs, StageCost(name=stage, images_predicted=views))

    context.engine.group.on_main(write)
    context.reporter.say(f"features are kept in {stores[0].folder.parent} for later runs ({compact(size)}B)")
