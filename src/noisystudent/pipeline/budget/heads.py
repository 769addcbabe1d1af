"""What a run on a frozen backbone does with its budget: the size of the images, and the noised views of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from noisystudent.models.backbones import Backbone
from noisystudent.models.classifier import create_classifier
from noisystudent.models.last_layer import last_layer
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.budget.choice import USABLE, Choice, refuse_budget
from noisystudent.pipeline.budget.graphs import seconds_of_graphs
from noisystudent.pipeline.budget.lengths import ENOUGH_STEPS, FEWEST_STEPS, MOST_STEPS, sizes_of_weights
from noisystudent.pipeline.budget.speed import (
    OVERHEAD,
    FitTimes,
    seconds_per_sample,
    seconds_per_view,
    time_fits,
)
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.device import Engine
from noisystudent.training.linear_head import FOLDS, PENALTIES

MOST_VIEWS = 3
SMALL_STUDENT = 0.5  # of the budget, for the small network at the end


@dataclass
class HeadCosts:
    """Seconds of a run on frozen features, by size and views; each size is timed once.

    Students have the first of the backbones; of the others, teachers see the plain view. ``head.student`` of the
    settings is a small network that is trained at the end.
    """

    backbones: tuple[Backbone, ...]
    plan: ModelPlan
    workload: Workload
    engine: Engine
    settings: RunSettings
    _views: dict[int, list[float]] = field(default_factory=dict)
    _steps: dict[int, float] = field(default_factory=dict)
    _width: int = 0
    _fits: FitTimes | None = None

    @property
    def rounds(self) -> int:
        """How many rounds there are."""
        return self.settings.rounds.count

    @property
    def small_student(self) -> str:
        """The name of the small network; empty without one."""
        return self.settings.head.student

    @property
    def images_per_step(self) -> int:
        """Images of a step of the small network."""
        return sum(self.settings.train.student_counts(self.rounds))

    def seconds(self, size: int, views: int) -> float:
        """Seconds of features and fits at ``size`` pixels with ``views`` noised views."""
        trained = self.workload.labeled + self.workload.unlabeled
        features = self.per_view(size) * (trained * (1 + views) + self.workload.held_out)
        features += sum(self.others_per_view(size)) * trained
        heads = self.cross_fitting(views) + self.labels_only(views) + self.rounds * self.student(views)
        return features + heads + self.evidence(views) + self.findings(views)

    def small_student_step(self, size: int) -> float:
        """Seconds of a training step of the small network at ``size`` pixels."""
        if size not in self._steps:
            classes = tuple(str(label) for label in range(self.workload.classes))
            start, channels = self.backbones[0].start_of(self.small_student), self.workload.channels
            if start:
                classifier = start.new_classifier(self.small_student, classes=classes, size=size)
            else:
                classifier = create_classifier(self.small_student, classes=classes, channels=channels, size=size)
            per_sample = seconds_per_sample(classifier.to(self.engine.device), self.engine, self.images_per_step)
            self._steps[size] = per_sample * self.images_per_step * OVERHEAD
        return self._steps[size]

    def labels_only(self, views: int) -> float:
        """Seconds of a head on the labels alone."""
        return self._fit(self.workload.labeled * (1 + views))

    def cross_fitting(self, views: int) -> float:
        """Seconds of choosing the weight decay of labels-only heads, and the weights of the teachers."""
        return len(PENALTIES) * FOLDS * self._fit_of_fold(views) + self._graphs()

    def student(self, views: int) -> float:
        """Seconds of a student's head."""
        return self._fit((self.workload.labeled + self.workload.unlabeled) * (1 + views))

    def evidence(self, views: int) -> float:
        """Seconds of cross-fitting students, each with its teacher."""
        return FOLDS * (self._fit_of_fold(views) + self.rounds * self.student(views))

    def findings(self, views: int) -> float:
        """Seconds of the heads whose answers tell which labels look wrong."""
        return FOLDS * self._fit_of_fold(views)

    def per_view(self, size: int) -> float:
        """Seconds of one view at ``size`` pixels; raises ``ModelError`` where the backbone cannot take that size."""
        return self._timed(size)[0]

    def others_per_view(self, size: int) -> list[float]:
        """Seconds of one view by each backbone but the first."""
        return self._timed(size)[1:]

    def _timed(self, size: int) -> list[float]:
        """Seconds of a view by each backbone."""
        if size not in self._views:
            classes = tuple(str(label) for label in range(self.workload.classes))
            names = (self.plan.name, *(backbone.architecture for backbone in self.backbones[1:]))
            timed = []
            for backbone, name in zip(self.backbones, names, strict=True):
                classifier = backbone.new_classifier(name, classes=classes, size=size)
                self._width = self._width or last_layer(classifier).in_features
                timed.append(seconds_per_view(classifier.to(self.engine.device), size, self.engine))
            self._views[size] = timed
        return self._views[size]

    def _graphs(self) -> float:
        """Seconds of the teachers' two neighbor graphs."""
        return seconds_of_graphs(self.workload.in_training, self._width, whitened=(False, True))

    def _fit_of_fold(self, views: int) -> float:
        """Seconds of a head on the labels of all folds but one."""
        return self._fit(self.workload.labeled * (1 + views) * (FOLDS - 1) // FOLDS)

    def _fit(self, rows: int) -> float:
        if self._fits is None:
            self._fits = time_fits(self._width, self.workload.classes, self.engine.device)
        return self._fits.seconds(rows)


def choose_for_heads(settings: RunSettings, explicit: frozenset[str], costs: HeadCosts, budget: float) -> Choice:
    """The largest images that fit, with at least one noised view, then as many views as fit.

    A small student takes half of the budget, and images are then only as large as leave it enough steps.

    Raises:
        SettingsError: Not even the smallest images with the plain view fit.
    """
    given_steps = settings.train.steps if "train.steps" in explicit else None
    given_size = settings.data.size if "data.size" in explicit and settings.data.size != "auto" else None
    sizes = [given_size] if given_size else list(candidate_sizes(costs))
    views = [settings.head.views] if "head.views" in explicit else list(range(MOST_VIEWS, 0, -1))
    usable = USABLE * budget
    of_heads = usable * (1 - SMALL_STUDENT if costs.small_student else 1)
    enough_steps, fewest_steps = given_steps or ENOUGH_STEPS, given_steps or FEWEST_STEPS
    for size in sizes:
        too_large = costs.small_student and usable - of_heads < enough_steps * costs.small_student_step(size)
        for count in views if size == sizes[-1] or not too_large else ():
            if costs.seconds(size, count) <= of_heads:
                return _choice(costs, size, count, usable, given_steps)
    smallest, fewest = sizes[-1], views[-1] if "head.views" in explicit else 0
    seconds = costs.seconds(smallest, fewest)
    needed = seconds + (fewest_steps * costs.small_student_step(smallest) if costs.small_student else 0.0)
    if needed > usable:
        images = costs.workload.labeled + costs.workload.unlabeled
        what = f"to compute the features of {images:,} images of {smallest} px and to fit heads on them"
        what += f", then {fewest_steps} steps of {costs.small_student}," if costs.small_student else ""
        refuse_budget(budget, needed, what, "or fewer unlabeled images")
    return _choice(costs, smallest, fewest, usable, given_steps)


def candidate_sizes(costs: HeadCosts) -> Iterator[int]:
    """Sizes that the backbone takes, from its own down, without those that only enlarge the images."""
    return sizes_of_weights(costs.backbones[0].size, costs.workload.edge, costs.per_view)


def _choice(costs: HeadCosts, size: int, views: int, usable: float, given_steps: int | None) -> Choice:
    """The choice of a size and a number of views; a small student trains for what they leave, or ``given_steps``."""
    per_view, seconds = costs.per_view(size), costs.seconds(size, views)
    values: dict[str, object] = {"data.size": size, "head.views": views}
    reasons = [
        f"images of {size} px (a view takes {1000 * per_view:.1f} ms here), each in {views} noised views beside the "
        "plain one"
    ]
    if costs.small_student:
        step = costs.small_student_step(size)
        values["train.steps"] = steps = given_steps or min(MOST_STEPS, int((usable - seconds) / step))
        seconds += steps * step
        reasons.append(f"{steps:,} steps of {costs.images_per_step} images for the small student {costs.small_student}")
    return Choice(values=values, seconds=seconds, reasons=tuple(reasons))
