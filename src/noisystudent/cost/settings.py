"""What ``plan --assume`` computes from. Nothing has a default, so that nothing is assumed without being said.

Every group names where its numbers are from in ``source``, which the answer repeats.
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
    """How many images there are, and how large."""

    labeled: Count = Field(description="labeled images")
    unlabeled: Count = Field(description="images of the pile, all of which every teacher labels")
    bytes_per_image: Positive = Field(description="of an image as stored, on average")
    source: Text = Field(description="where these numbers are from")


class ModelAssumptions(Settings):
    """A model, how long it trains and how fast it is: by its operations, or by two rates."""

    model: Text = Field(description="its name")
    parameters: Count = Field(description="its parameters, which its checkpoint holds as float32")
    epochs: Positive = Field(description="how often training sees every labeled image")
    gigaflops: Positive | None = Field(
        None,
        description="10^9 operations of a forward pass of one image, a multiplication and an addition counted as "
        "two; training takes three times as many",
    )
    trained_per_second: Positive | None = Field(
        None, description="instead of gigaflops: images that one device trains on in a second"
    )
    labeled_per_second: Positive | None = Field(
        None, description="instead of gigaflops: images that one device labels in a second"
    )
    source: Text = Field(description="where these numbers are from")


class StudentAssumptions(ModelAssumptions):
    """A student, which also learns from the pile."""

    ratio: Positive = Field(description="pseudo-labeled images per labeled one in training")


class DeviceAssumptions(Settings):
    """The devices that train and label, all at once, with no loss between them but what their rate includes."""

    name: Text = Field(description="what one device is")
    count: Count = Field(description="how many there are")
    teraflops: Positive | None = Field(
        None, description="10^12 operations a second at the most, for models that give gigaflops"
    )
    training_utilization: Fraction | None = Field(None, description="part of teraflops that training reaches")
    labeling_utilization: Fraction | None = Field(None, description="part of teraflops that labeling reaches")
    source: Text = Field(description="where these numbers are from")


class CoreAssumptions(Settings):
    """What a CPU core does for the devices."""

    decoded_per_second: Positive = Field(description="images that one core reads, decodes and resizes in a second")
    noised_per_second: Positive = Field(description="images that one core crops and noises in a second, to train on")
    source: Text = Field(description="where these numbers are from")


class PredictionAssumptions(Settings):
    """The stored soft labels."""

    bytes_per_row: Positive = Field(description="of one image's row in a part")
    source: Text = Field(description="where this number is from")


class PriceAssumptions(Settings):
    """Prices, 0 where there is none; a gigabyte is 10^9 bytes."""

    as_of: date = Field(description="the day that the prices are of")
    currency: Text = Field(description="such as USD")
    device_hour: Price = Field(description="one device for one hour, its share of the machine included")
    gigabyte_month: Price = Field(description="a gigabyte stored for a month")
    gigabyte_read: Price = Field(description="a gigabyte read from the store, every time that it is read")
    source: Text = Field(description="where these numbers are from")


class Assumptions(Settings):
    """Everything that decides what a run takes."""

    rounds: Count = Field(description="rounds of label, select, train")
    control: bool = Field(description="whether the labels-only control is trained")
    images: ImageAssumptions
    teacher: ModelAssumptions
    students: Annotated[tuple[StudentAssumptions, ...], Field(min_length=1)] = Field(
        description="one per round, the last repeats"
    )
    devices: DeviceAssumptions
    core: CoreAssumptions
    predictions: PredictionAssumptions
    prices: PriceAssumptions
