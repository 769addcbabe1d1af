"""Computes the samples seen, device hours, bytes and cost of a run from assumptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from noisystudent.cost.settings import Assumptions, DeviceAssumptions, ModelAssumptions
from noisystudent.display.wording import plural

# Forward, then backward for inputs and for weights; each of the three costs as many operations as forward.
TRAINING_COST_FACTOR = 3
PARAMETER_BYTES = 4  # float32
STATE_COPIES = 4  # of the parameters in a saved state: weights, averaged weights, and two in the optimizer
HOURS_PER_MONTH = 730.5  # a twelfth of 365.25 days
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class StageCost:
    """The cost of one stage.

    ``samples_seen``: images that go through the model; ``rate``: images per second and device; ``device_hours``: hours
    summed over the devices; ``hours``: wall time; ``cores``: CPU cores per device so that it never waits for images;
    ``price``: price of the device hours.
    """

    name: str
    samples_seen: int
    rate: float
    device_hours: float
    hours: float
    cores: float
    price: float


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Files that the run stores, and their size in bytes."""

    name: str
    bytes: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a run: its stages run one after another, and all files are stored for the whole time."""

    assumptions: Assumptions
    stages: tuple[StageCost, ...]
    stored: tuple[StoredFiles, ...]

    @property
    def hours(self) -> float:
        """Wall time of all stages, in hours."""
        return sum(stage.hours for stage in self.stages)

    @property
    def device_price(self) -> float:
        """Price of all device hours."""
        return sum(stage.price for stage in self.stages)

    @property
    def bytes_read(self) -> float:
        """Bytes read from the store in all stages, without a cache."""
        return sum(stage.samples_seen for stage in self.stages) * self.assumptions.images.bytes_per_image

    @property
    def bytes_per_second(self) -> float:
        """Bytes per second that the fastest stage reads, on all devices."""
        fastest = max(stage.rate for stage in self.stages)
        return fastest * self.assumptions.devices.count * self.assumptions.images.bytes_per_image

    @property
    def reading_price(self) -> float:
        """Price of reading ``bytes_read``."""
        return self.bytes_read / GIGABYTE * self.assumptions.prices.gigabyte_read

    @property
    def bytes_stored(self) -> float:
        """Bytes of all stored files."""
        return sum(files.bytes for files in self.stored)

    @property
    def storage_price(self) -> float:
        """Price of storing all files for the time of the run."""
        months = self.hours / HOURS_PER_MONTH
        return self.bytes_stored / GIGABYTE * months * self.assumptions.prices.gigabyte_month

    @property
    def price(self) -> float:
        """Price of the run."""
        return self.device_price + self.reading_price + self.storage_price


def estimate(assumptions: Assumptions) -> Estimate:
    """Estimates the cost of the run that ``assumptions`` describe.

    A teacher sees epochs x labeled images, a student 1 + ratio times as many, and the control as many as the last
    student. Every teacher labels all unlabeled images.

    Args:
        assumptions: what ``read_assumptions`` returns.

    Returns:
        The estimate.
    """
    labeled, unlabeled = assumptions.images.labeled, assumptions.images.unlabeled
    students = [
        assumptions.students[min(number, len(assumptions.students) - 1)] for number in range(assumptions.rounds)
    ]
    models = [assumptions.teacher, *students]
    stages = [_training_stage(assumptions, "teacher", assumptions.teacher, assumptions.teacher.epochs * labeled)]
    for number, (teacher, student) in enumerate(zip(models, students, strict=False), start=1):
        samples_seen = student.epochs * labeled * (1 + student.ratio)
        stages.append(_labeling_stage(assumptions, f"round-{number}/predictions", teacher, unlabeled))
        stages.append(_training_stage(assumptions, f"round-{number}/student", student, samples_seen))
    if assumptions.control:
        stages.append(_training_stage(assumptions, "control", students[-1], stages[-1].samples_seen))
        models.append(students[-1])
    return Estimate(assumptions, tuple(stages), tuple(_stored(assumptions, models)))


def _training_stage(assumptions: Assumptions, name: str, model: ModelAssumptions, samples_seen: float) -> StageCost:
    core = assumptions.core
    rate, _ = _rates(model, assumptions.devices)
    return _stage(assumptions, name, samples_seen, rate, 1 / core.decoded_per_second + 1 / core.noised_per_second)


def _labeling_stage(assumptions: Assumptions, name: str, model: ModelAssumptions, samples_seen: float) -> StageCost:
    _, rate = _rates(model, assumptions.devices)
    return _stage(assumptions, name, samples_seen, rate, 1 / assumptions.core.decoded_per_second)


def _rates(model: ModelAssumptions, devices: DeviceAssumptions) -> tuple[float, float]:
    """Images per second of one device, in training and in labeling."""
    if model.gigaflops is None:
        assert model.trained_per_second is not None
        assert model.labeled_per_second is not None
        return model.trained_per_second, model.labeled_per_second
    assert devices.teraflops is not None
    assert devices.training_utilization is not None
    assert devices.labeling_utilization is not None
    peak = devices.teraflops * 1000 / model.gigaflops
    return peak * devices.training_utilization / TRAINING_COST_FACTOR, peak * devices.labeling_utilization


def _stage(assumptions: Assumptions, name: str, samples_seen: float, rate: float, core_seconds: float) -> StageCost:
    """A stage at ``rate`` images per second and device; each image takes one CPU core ``core_seconds``."""
    device_hours = samples_seen / rate / 3600
    return StageCost(
        name=name,
        samples_seen=round(samples_seen),
        rate=rate,
        device_hours=device_hours,
        hours=device_hours / assumptions.devices.count,
        cores=rate * core_seconds,
        price=device_hours * assumptions.prices.device_hour,
    )


def _stored(assumptions: Assumptions, models: Sequence[ModelAssumptions]) -> Iterator[StoredFiles]:
    """The files in the store at the end, with one saved state, the largest."""
    images, rounds = assumptions.images, assumptions.rounds
    yield StoredFiles("images", (images.labeled + images.unlabeled) * images.bytes_per_image)
    rows = rounds * images.unlabeled
    yield StoredFiles(f"predictions of {plural(rounds, 'round')}", rows * assumptions.predictions.bytes_per_row)
    checkpoints = PARAMETER_BYTES * sum(model.parameters for model in models)
    yield StoredFiles(plural(len(models), "checkpoint"), checkpoints)
    yield StoredFiles(
        "saved state of one stage", PARAMETER_BYTES * STATE_COPIES * max(model.parameters for model in models)
    )
