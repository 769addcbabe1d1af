"""The parts that a run is made of, under one name each, for code that puts them together in another order.

``docs/extending.md`` has an example. Sources: ``open_source``, ``Source``, ``Record``. Images: ``ImageFormat``,
``Images``, ``decode_images``. Batches: ``make_buffer``, ``InMemoryStream``, ``ShardStream``, ``BatchLoader``,
``Batch``. Noise: ``InputNoise``, ``CounterRng``. Models: ``create_classifier``, ``Classifier``, ``Teacher``,
``save_classifier``, ``load_classifier``. Training: ``fit``, ``supervised``, ``noisy_student``,
``distillation_objective``, ``LossTerms``, ``smoothed_one_hot``. Pseudo labels: ``label_shards``, ``select_rows``,
``write_part``, ``ShardLabels``. Folders: ``commit``, ``prepare``.
"""

from __future__ import annotations

from noisystudent.artifacts.archives import prepare
from noisystudent.artifacts.folder import commit
from noisystudent.data.images import ImageFormat, Images, decode_source
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Record, Source
from noisystudent.data.sources.open import open_source
from noisystudent.losses.losses import smoothed_one_hot
from noisystudent.losses.objectives import LossTerms, distillation_objective, noisy_student, supervised
from noisystudent.models.checkpoint import load_classifier, save_classifier
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.teacher import Teacher
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.pseudo_labels.labeling.label_shards import label as label_shards
from noisystudent.pseudo_labels.predictions import ShardLabels, write_part
from noisystudent.pseudo_labels.selection.select import select as select_rows
from noisystudent.training.loader import Batch, BatchLoader, InMemoryStream, make_buffer
from noisystudent.training.loop import fit
from noisystudent.training.streaming import ShardStream

__all__ = [
    "Batch",
    "BatchLoader",
    "Classifier",
    "CounterRng",
    "ImageFormat",
    "Images",
    "InMemoryStream",
    "InputNoise",
    "LossTerms",
    "Record",
    "ShardLabels",
    "ShardStream",
    "Source",
    "Teacher",
    "commit",
    "create_classifier",
    "decode_images",
    "distillation_objective",
    "fit",
    "label_shards",
    "load_classifier",
    "make_buffer",
    "noisy_student",
    "open_source",
    "prepare",
    "save_classifier",
    "select_rows",
    "smoothed_one_hot",
    "supervised",
    "write_part",
]


def decode_images(source: Source, format: ImageFormat) -> Images:
    """All images of a source, decoded into memory.

    Args:
        source: What ``open_source`` returned, or a source of your own.
        format: Size in pixels and channels (1 or 3) of the stored images.

    Raises:
        DataError: An image cannot be read.
    """
    return decode_source(source, format, max_corrupt_fraction=0.0, memory_limit_gb=DataSettings().memory_limit_gb)
