"""The arithmetic: samples seen, device hours, bytes and money of a run that is only assumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from noisystudent.cost.settings import Assumptions, DeviceAssumptions, ModelAssumptions
from noisystudent.display.wording import plural

# Forward, and backward the gradients of inputs and of weights, each of which costs as many operations as forward.
TRAINING_PASSES = 3
PARAMETER_BYTES = 4  # float32
STATE_COPIES = 4  # of the parameters in a saved state: weights, averaged weights, two of the optimizer
HOURS_PER_MONTH = 730.5  # a twelfth of 365.25 days
GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class StageCost:
    """One stage: ``samples_seen`` images go through its model, ``rate`` of them a second on each device.

    ``hours`` are wall time on all devices; ``cores`` is how many CPU cores a device needs so that it never waits for
    images.
    """

    name: str
    samples_seen: int
    rate: float
    device_hours: float
    hours: float
    cores: float
    price: float


@dataclass(frozen=True, slots=True)
class Stored:
    """Something that is kept."""

    name: str
    bytes: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes; everything stored is kept as long as the stages take, one after another."""

    assumptions: Assumptions
    stages: tuple[StageCost, ...]
    stored: tuple[Stored, ...]

    @property
    def hours(self) -> float:
        """Wall time of all stages."""
        return sum(stage.hours for stage in self.stages)

    @property
    def device_price(self) -> float:
        """Price of all device hours."""
        return sum(stage.price for stage in self.stages)

    @property
    def bytes_read(self) -> float:
        """Bytes read from the store in all stages when nothing is cached."""
        return sum(stage.samples_seen for stage in self.stages) * self.assumptions.images.bytes_per_image

    @property
    def bytes_per_second(self) -> float:
        """Bytes that the fastest stage reads in a second, on all devices."""
        fastest = max(stage.rate for stage in self.stages)
        return fastest * self.assumptions.devices.count * self.assumptions.images.bytes_per_image

    @property
    def reading_price(self) -> float:
        """Price of reading them."""
        return self.bytes_read / GIGABYTE * self.assumptions.prices.gigabyte_read

    @property
    def bytes_stored(self) -> float:
        """Bytes kept."""
        return sum(each.bytes for each in self.stored)

    @property
    def storage_price(self) -> float:
        """Price of keeping them."""
        months = self.hours / HOURS_PER_MONTH
        return self.bytes_stored / GIGABYTE * months * self.assumptions.prices.gigabyte_month

    @property
    def price(self) -> float:
        """Price of the run."""
        return self.device_price + self.reading_price + self.storage_price


def estimate(assumptions: Assumptions) -> Estimate:
    """What the run takes that ``assumptions`` (from ``read_assumptions``) describe.

    A teacher's samples seen are epochs x labeled images, a student's 1 + ratio times as many, the control's those of
    the last student; every teacher labels the whole pile.
    """
    labeled, unlabeled = assumptions.images.labeled, assumptions.images.unlabeled
    students = [
        assumptions.students[min(number, len(assumptions.students) - 1)] for number in range(assumptions.rounds)
    ]
    models = [assumptions.teacher, *students]
    stages = [_trained(assumptions, "teacher", assumptions.teacher, assumptions.teacher.epochs * labeled)]
    for number, (teacher, student) in enumerate(zip(models, students, strict=False), start=1):
        samples_seen = student.epochs * labeled * (1 + student.ratio)
        stages.append(_labeled(assumptions, f"round-{number}/predictions", teacher, unlabeled))
        stages.append(_trained(assumptions, f"round-{number}/student", student, samples_seen))
    if assumptions.control:
        stages.append(_trained(assumptions, "control", students[-1], stages[-1].samples_seen))
        models.append(students[-1])
    return Estimate(assumptions, tuple(stages), tuple(_stored(assumptions, models)))


def _trained(assumptions: Assumptions, name: str, model: ModelAssumptions, samples_seen: float) -> StageCost:
    core = assumptions.core
    rate, _ = _rates(model, assumptions.devices)
    return _stage(assumptions, name, samples_seen, rate, 1 / core.decoded_per_second + 1 / core.noised_per_second)


def _labeled(assumptions: Assumptions, name: str, model: ModelAssumptions, samples_seen: float) -> StageCost:
    _, rate = _rates(model, assumptions.devices)
    return _stage(assumptions, name, samples_seen, rate, 1 / assumptions.core.decoded_per_second)


def _rates(model: ModelAssumptions, devices: DeviceAssumptions) -> tuple[float, float]:
    """Images that one device trains on, and labels, in a second."""
    if model.gigaflops is None:
        assert model.trained_per_second is not None
        assert model.labeled_per_second is not None
        return model.trained_per_second, model.labeled_per_second
    assert devices.teraflops is not None
    assert devices.training_utilization is not None
    assert devices.labeling_utilization is not None
    at_the_most = devices.teraflops * 1000 / model.gigaflops
    return at_the_most * devices.training_utilization / TRAINING_PASSES, at_the_most * devices.labeling_utilization


def _stage(assumptions: Assumptions, name: str, samples_seen: float, rate: float, core_seconds: float) -> StageCost:
    """A stage at ``rate`` images a second and device, each of which takes a core ``core_seconds``."""
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


def _stored(assumptions: Assumptions, models: Sequence[ModelAssumptions]) -> Iterator[Stored]:
    """What lies in the store at the end, with one saved state, the largest."""
    images, rounds = assumptions.images, assumptions.rounds
    yield Stored("images", (images.labeled + images.unlabeled) * images.bytes_per_image)
    rows = rounds * images.unlabeled
    yield Stored(f"predictions of {plural(rounds, 'round')}", rows * assumptions.predictions.bytes_per_row)
    checkpoints = PARAMETER_BYTES * sum(model.parameters for model in models)
    yield Stored(plural(len(models), "checkpoint"), checkpoints)
    yield Stored("saved state of one stage", PARAMETER_BYTES * STATE_COPIES * max(model.parameters for model in models))
