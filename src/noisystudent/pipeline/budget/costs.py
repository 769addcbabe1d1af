"""What networks cost at each image size: the model there, and its measured seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from noisystudent.models.backbones import Backbone
from noisystudent.models.classifier import create_classifier
from noisystudent.models.settings import ModelPlan, plan_student
from noisystudent.models.tuning import train_last_blocks
from noisystudent.models.wrapped_module import width_of_features
from noisystudent.pipeline.backbones.tune import with_values
from noisystudent.pipeline.budget.lengths import SHARES, SMALLEST_SHARE, is_tuned, sizes_of_weights, values_of_tuning
from noisystudent.pipeline.budget.speed import FORWARD, seconds_per_sample, seconds_per_view
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.device import Engine

SMALLER_SIZES = (64, 48, 32, 24, 16)


@dataclass(frozen=True)
class Size:
    """An image size, its model, and the seconds there per sample that is trained on and per image that is predicted.

    ``width``: the number of the model's features.
    """

    edge: int
    plan: ModelPlan
    seconds: float
    forward: float
    width: int


@dataclass
class NetworkCosts:
    """Seconds per sample by image size; each size is timed once. ``explicit``: the settings that the user decided."""

    settings: RunSettings
    backbone: Backbone | None
    workload: Workload
    engine: Engine
    explicit: frozenset[str] = frozenset()
    _timed: dict[int, Size] = field(default_factory=dict)

    @property
    def plan(self) -> ModelPlan:
        """The model that is trained last, for images as they are."""
        return plan_student(self.settings.model, self.workload.edge)

    @property
    def tuned(self) -> bool:
        """Whether the models start from pretrained weights."""
        return is_tuned(self.backbone, self.plan)

    @property
    def batch_size(self) -> int:
        """Images of a step, of which the training of pretrained weights has fewer."""
        of_tuning = values_of_tuning(self.explicit) if self.tuned else {}
        return with_values(self.settings, of_tuning).train.batch_size

    def at(self, edge: int) -> Size:
        """The model for images of ``edge`` pixels, and its seconds per sample."""
        if edge not in self._timed:
            self._timed[edge] = _measured(self, edge)
        return self._timed[edge]

    def sizes(self, explicit: frozenset[str]) -> Iterator[int]:
        """The sizes to try, the largest first; the one that is given, or that a family has, is the only one."""
        settings, backbone, edge = self.settings, self.backbone, self.workload.edge
        if settings.data.size != "auto" and "data.size" in explicit:
            yield settings.data.size
        elif settings.model.family:
            yield edge
        elif backbone and self.tuned:
            yield from sizes_of_weights(backbone.size, edge, self.at, (*SHARES, SMALLEST_SHARE))
        else:
            yield from (edge, *(size for size in SMALLER_SIZES if size < edge))


def _measured(costs: NetworkCosts, edge: int) -> Size:
    settings, workload, engine = costs.settings, costs.workload, costs.engine
    plan = plan_student(settings.model, edge)
    start = costs.backbone and costs.backbone.start_of(plan.name)
    classes = tuple(str(label) for label in range(workload.classes))
    if start:
        classifier = start.new_classifier(plan.name, classes=classes, size=edge).to(engine.device)
        if blocks := settings.model.last_blocks:  # a step takes half as long and less, a prediction as long as ever
            train_last_blocks(classifier.net, blocks)
            seconds = seconds_per_sample(classifier, engine, costs.batch_size)
            forward = seconds_per_view(classifier, edge, engine)
            return Size(edge, plan, seconds, forward, width_of_features(classifier.net))
    else:
        channels, size = workload.channels, plan.size or edge
        classifier = create_classifier(plan.name, classes=classes, channels=channels, size=size).to(engine.device)
    seconds = seconds_per_sample(classifier, engine, costs.batch_size)
    return Size(edge, plan, seconds, seconds * FORWARD, width_of_features(classifier.net))
