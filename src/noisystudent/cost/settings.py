"""Assumptions of ``plan --assume``. No number has a default, so every assumption is in the file.

The ``source`` of every section says where its numbers come from; the output repeats it.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from noisystudent.settings import Settings

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Price = Annotated[float, Field(ge=0)]


class ImageAssumptions(Settings):
    """Number and size of the images."""

    labeled: Count = Field(description="labeled images")
    unlabeled: Count = Field(description="unlabeled images; every teacher labels all of them")
    bytes_per_image: Positive = Field(description="mean size of a stored image in bytes")
    source: Text = Field(description="where these numbers come from")


class ModelAssumptions(Settings):
    """A model, its training length, and its speed: from its number of operations, or as two rates."""

    model: Text = Field(description="name of the model")
    parameters: Count = Field(description="number of parameters, stored as float32 in its checkpoint")
    epochs: Positive = Field(description="number of times that training shows every labeled image")
    gigaflops: Positive | None = Field(
        None,
        description="10^9 operations of the forward pass of one image, counting a multiply-add as two operations; "
        "training takes three times as many",
    )
    trained_per_second: Positive | None = Field(
        None, description="instead of gigaflops: images per second in training, on one device"
    )
    labeled_per_second: Positive | None = Field(
        None, description="instead of gigaflops: images per second in labeling, on one device"
    )
    source: Text = Field(description="where these numbers come from")


class StudentAssumptions(ModelAssumptions):
    """A student, which also trains on pseudo-labeled images."""

    ratio: Positive = Field(description="pseudo-labeled images per labeled one in training")


class DeviceAssumptions(Settings):
    """The devices, which all train and label together; the only loss is what their rate includes."""

    name: Text = Field(description="name of one device")
    count: Count = Field(description="number of devices")
    teraflops: Positive | None = Field(
        None, description="peak speed in 10^12 operations per second; required if a model has gigaflops"
    )
    training_utilization: Fraction | None = Field(None, description="fraction of teraflops reached in training")
    labeling_utilization: Fraction | None = Field(None, description="fraction of teraflops reached in labeling")
    source: Text = Field(description="where these numbers come from")


class CoreAssumptions(Settings):
    """The speed of a CPU core that prepares images for the devices."""

    decoded_per_second: Positive = Field(description="images per second that one core reads, decodes and resizes")
    noised_per_second: Positive = Field(description="images per second that one core crops and augments for training")
    source: Text = Field(description="where these numbers come from")


class PredictionAssumptions(Settings):
    """Size of the stored soft labels."""

    bytes_per_row: Positive = Field(description="bytes per image in a part")
    source: Text = Field(description="where this number comes from")


class PriceAssumptions(Settings):
    """Prices, 0 for what is free; a gigabyte is 10^9 bytes."""

    as_of: date = Field(description="date of the prices")
    currency: Text = Field(description="such as USD")
    device_hour: Price = Field(description="price of one device for one hour, including its share of the machine")
    gigabyte_month: Price = Field(description="price of storing a gigabyte for a month")
    gigabyte_read: Price = Field(description="price of reading a gigabyte from the store, charged on every read")
    source: Text = Field(description="where these numbers come from")


class Assumptions(Settings):
    """Everything that the cost of a run depends on."""

    rounds: Count = Field(description="number of rounds of label, select, train")
    control: bool = Field(description="whether to train the labels-only control")
    images: ImageAssumptions
    teacher: ModelAssumptions
    students: Annotated[tuple[StudentAssumptions, ...], Field(min_length=1)] = Field(
        description="one student per round; the last one repeats"
    )
    devices: DeviceAssumptions
    core: CoreAssumptions
    predictions: PredictionAssumptions
    prices: PriceAssumptions
