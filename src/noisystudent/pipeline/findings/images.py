"""What the delivered model sees in the images of training: features, answers, and small copies for the map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisystudent.data.images import Images
from noisystudent.data.sample import evenly_spread
from noisystudent.data.unlabeled import UnlabeledData
from noisystudent.errors import ModelError
from noisystudent.models.last_layer import last_layer
from noisystudent.models.settings import plan_teacher
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.stage import open_stores
from noisystudent.training.linear_head import LinearHead

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
See = Callable[[Images], tuple[Floats, Floats]]

MOST_SHARDS = 49  # of the unlabeled set that are looked at: 50,000 images, however many there are
MOST_ON_MAP = 5000
MOST_LABELED_ON_MAP = 1000
SPRITE_PIXELS = 2_200_000  # of all small copies together, so that the page stays small
SMALLEST_COPY, LARGEST_COPY = 16, 64  # pixels


@dataclass(frozen=True)
class SeenImages:
    """Images in order: keys, features float32 [N, F], log-probabilities [N, K], and the rows on the map with copies."""

    keys: tuple[str, ...]
    features: Floats
    log_probabilities: Floats
    on_map: Ints
    copies: tuple[Image.Image, ...]


def opened_eyes(context: RunContext, checkpoint: Checkpoint) -> See:
    """A function from images to features [N, F] and log-probabilities [N, K] of a trained model of the run.

    A network without features before a linear layer is seen through its log-probabilities alone. ``runtime.precision
    auto`` means float32 here, so that the lists are the same on every machine.
    """
    runtime = context.settings.runtime.settled()
    if context.settings.model.tune == HEAD:
        plan = plan_teacher(context.settings.model, context.splits.format.size)
        store, head = open_stores(context, plan)[0], LinearHead.of(last_layer(checkpoint.load()))
        return lambda images: _through(store.features(images).astype(np.float32), head)
    predictor = checkpoint.predictor(checkpoint.name, context.device, runtime)
    try:
        assert predictor.classifier
        head = LinearHead.of(last_layer(predictor.classifier))
        predictor.features(context.splits.labeled.take(np.arange(1)))
    except ModelError:

        def answers(images: Images) -> tuple[Floats, Floats]:
            log_probabilities = predictor.log_probabilities(images)
            return log_probabilities, log_probabilities

        return answers
    return lambda images: _through(predictor.features(images), head)


def _through(features: Floats, head: LinearHead) -> tuple[Floats, Floats]:
    return features, head.log_probabilities(features)


def shards_to_see(unlabeled: UnlabeledData) -> list[int]:
    """The shards that are looked at, evenly spread."""
    count = len(unlabeled.shard_sizes)
    return [int(shard) for shard in evenly_spread(count, MOST_SHARDS)] if count else []


def see_all(
    see: See, parts: Iterator[Images], on_map: int, edge: int, advance: Callable[[int], None], classes: int
) -> SeenImages:
    """Looks at images part by part.

    Args:
        see: The model.
        parts: The images.
        on_map: How many of each part are on the map, evenly spread.
        edge: The edge of their copies, in pixels.
        advance: Called with the number of images that were seen.
        classes: The number of classes, for no images.
    """
    keys: list[str] = []
    copies: list[Image.Image] = []
    rows: list[Ints] = []
    features: list[Floats] = []
    answers: list[Floats] = []
    for images in parts:
        if not len(images):
            continue
        chosen = evenly_spread(len(images), on_map)
        rows.append(chosen + len(keys))
        copies += [small_copy(images, int(row), edge) for row in chosen]
        keys += images.keys
        seen, log_probabilities = see(images)
        features.append(seen)
        answers.append(log_probabilities)
        advance(len(images))
    return SeenImages(
        tuple(keys),
        np.concatenate(features) if features else np.zeros((0, 1), np.float32),
        np.concatenate(answers) if answers else np.zeros((0, classes), np.float32),
        np.concatenate(rows) if rows else np.zeros(0, np.int64),
        tuple(copies),
    )


def copy_edge(images: int) -> int:
    """The edge in pixels of the copies of ``images`` images on the map."""
    return max(SMALLEST_COPY, min(LARGEST_COPY, math.isqrt(SPRITE_PIXELS // max(images, 1))))


def small_copy(images: Images, row: int, edge: int) -> Image.Image:
    """One image, reduced to fit into a square of ``edge`` pixels."""
    height, width = images.sizes[row]
    pixels = images.pixels[row, :, :height, :width].transpose(1, 2, 0)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    image.thumbnail((edge, edge), Image.Resampling.BILINEAR)
    return image


def sprite_of(copies: tuple[Image.Image, ...], edge: int) -> Image.Image:
    """All copies in one square image, row by row, each in the middle of its cell."""
    columns = max(1, math.isqrt(max(len(copies) - 1, 0)) + 1)
    sheet = Image.new("RGB", (columns * edge, -(-len(copies) // columns) * edge or edge), (128, 128, 128))
    for number, copy in enumerate(copies):
        left, top = number % columns * edge, number // columns * edge
        sheet.paste(copy, (left + (edge - copy.width) // 2, top + (edge - copy.height) // 2))
    return sheet
