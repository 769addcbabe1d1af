"""A table of predictions: a CSV file with file, class, confidence and problem of everything in a source."""

from __future__ import annotations

import csv
import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from noisystudent.artifacts.folder import atomic_write
from noisystudent.data.images import Failure, Images
from noisystudent.data.source import Source, passed_over
from noisystudent.data.summary import summarize
from noisystudent.display.sources import source_lines
from noisystudent.display.wording import printable
from noisystudent.evaluation.map_shards import map_shards
from noisystudent.models.predictor import Predictor
from noisystudent.models.training_images import count_training_images
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.progress import Reporter

UNREADABLE_SHOWN = 20  # lines about unreadable images
COLUMNS = ("file", "class", "confidence", "problem")


def is_prediction_table(path: Path) -> bool:
    """Whether a file is a table that ``write_predictions`` wrote."""
    with path.open("rb") as file:
        return file.readline(1000).startswith(",".join(COLUMNS[:3]).encode())


def write_predictions(
    predictor: Predictor, source: Source, path: Path, *, max_corrupt_fraction: float, reporter: Reporter
) -> list[Failure]:
    """Writes the table and returns the unreadable images, which have a row with the reason instead of an answer.

    So has, at the end, everything that the source passes over. Processes that torchrun started share the shards; the
    main process writes.
    """
    group = open_process_group()
    reporter = reporter if group.is_main else Reporter(quiet=True)
    failures: list[Failure] = []
    predicted = seen = 0

    def predict_shard(images: Images) -> tuple[list[list[str]], int]:
        rows = zip(images.keys, predictor.log_probabilities(images), strict=True)
        texts = [[key, predictor.classes[int(row.argmax())], f"{np.exp(row.max()):.4f}", ""] for key, row in rows]
        return texts, count_training_images(images.digests, predictor.training_images) or 0

    for line in source_lines("source", summarize(source)):
        reporter.say(line)
    with (
        atomic_write(path) if group.is_main else nullcontext(Path(os.devnull)) as destination,
        destination.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        reporter.bar("predict", sum(source.shard_sizes), "images") as bar,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        shards = map_shards(
            source, predictor.format, predict_shard, max_corrupt_fraction=max_corrupt_fraction, group=group
        )
        for (rows, trained_on), failed in shards:
            writer.writerows(rows)
            writer.writerows([failure.key, "", "", failure.reason] for failure in failed)
            failures += failed
            predicted, seen = predicted + len(rows), seen + trained_on
            bar.advance(len(rows) + len(failed))
        for kind in passed_over(source):
            writer.writerows([name, "", "", f"passed over: {kind.what}"] for name in kind.names)
    for failure in failures[:UNREADABLE_SHOWN]:
        reporter.say(printable(f"unreadable: {failure.key}: {failure.reason}"))
    if len(failures) > UNREADABLE_SHOWN:
        reporter.say(f"and {len(failures) - UNREADABLE_SHOWN:,} more, in {path} with their reasons")
    if seen:
        reporter.say(
            f"warning: {seen:,} of the {predicted:,} images are among the labeled images that the model was trained "
            "on, so it is right about them more often, and surer, than about others"
        )
    return failures
