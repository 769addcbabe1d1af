"""Features and labels of a checkpoint against a bare timm loop, and the memory of both engines.

    python benchmarks/features.py            # ten minutes; the engine onnx needs the extra onnx
    python benchmarks/features.py --quick    # a few seconds, a small network

The bare loop calls timm's network, channels last, with normalized batches of the same size, in evaluation mode without
gradients, one thread. Ours begins with decoded images in memory: the view, the normalization and, for labels, the
softmax and the Parquet file. All rivals run in one process in turn, with the C library set as the commands set it.
A ratio of 1 means no overhead; ratios are medians over rounds, with the range. Memory is the peak of a process that
opens the checkpoint and computes the features of N or 4 N images in 16 sources of which one is in memory at a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisystudent.data.images import Images
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.load import open_classifier
from noisystudent.models.predictor import Predictor
from noisystudent.pseudo_labels.labeling.label_shards import label
from noisystudent.runtime.allocator import keep_freed_memory
from noisystudent.runtime.device import images_per_pass
from noisystudent.runtime.settings import RuntimeSettings
from rows import plain_row, ratio_row

MODEL, SMALL_MODEL = "tf_efficientnet_lite0", "test_efficientnet"
MARGIN = 32  # pixels around the view of a stored image
PARTS = 16  # of the images whose memory is measured


def make_images(count: int, size: int) -> Images:
    """Random color images as they are stored for ``size``; the content does not change the time."""
    random, edge = np.random.default_rng(0), size + MARGIN
    return Images(
        keys=tuple(str(number) for number in range(count)),
        pixels=random.integers(0, 256, (count, 3, edge, edge), dtype=np.uint8),
        sizes=np.full((count, 2), edge, np.int32),
        labels=np.full(count, -1),
        digests=("",) * count,
        failures=(),
        classes=None,
    )


def bare_loop(classifier: Classifier, images: Images, batch: int, *, features: bool) -> None:
    """What one writes by hand: center crop, normalization, timm's network."""
    net, size = classifier.net.eval(), classifier.size
    mean, std = (torch.tensor(values)[:, None, None] for values in vars_of(classifier))
    for first in range(0, len(images), batch):
        pixels = torch.from_numpy(images.pixels[first : first + batch])
        inset = (pixels.shape[2] - size) // 2
        view = pixels[:, :, inset : inset + size, inset : inset + size].float().div_(255).sub_(mean).div_(std)
        with torch.inference_mode():
            view = view.contiguous(memory_format=torch.channels_last)
            if features:
                net.forward_head(net.forward_features(view), pre_logits=True).numpy()
            else:
                net(view).softmax(dim=1).numpy()


def vars_of(classifier: Classifier) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return classifier.normalization.mean, classifier.normalization.std


def label_ours(predictor: Predictor, images: Images) -> None:
    with tempfile.TemporaryDirectory() as folder:
        label(predictor, lambda shard: images, [(0, range(1))], Path(folder), batch_size=predictor.batch_size)


def measure(folder: Path, images: Images, batch: int, rounds: int) -> list[dict[str, Any]]:
    """The rate of each engine divided by that of the bare loop, for features and for labels."""
    bare = open_classifier(folder)
    engines = ["torch", *(["onnx"] if has_onnx() else [])]
    opened = {engine: Predictor.open(folder, RuntimeSettings(engine=engine, threads=1)) for engine in engines}
    rows = []
    for what in ("features", "labels"):
        jobs: dict[str, Callable[[], object]] = {
            "bare": lambda what=what: bare_loop(bare, images, batch, features=what == "features")
        }
        for engine, predictor in opened.items():
            jobs[engine] = (
                (lambda predictor=predictor: predictor.features(images))
                if what == "features"
                else (lambda predictor=predictor: label_ours(predictor, images))
            )
        seconds = timed(jobs, rounds)
        for engine in engines:
            ratios = [theirs / ours for theirs, ours in zip(seconds["bare"], seconds[engine], strict=True)]
            rate = round(len(images) / float(np.median(seconds[engine])), 1)
            rows.append(ratio_row(f"{what}, {engine}", rate, "images per second", versus="a bare loop", ratios=ratios))
    return rows


def timed(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every job per round, after one that does not count; the order turns with the rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    names = list(jobs)
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = time.process_time()
            jobs[name]()
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def peak_memory(folder: Path, engine: str, count: int, size: int) -> float:
    """Peak gigabytes of a process that computes the features of ``count`` images, a part at a time."""
    words = [sys.executable, __file__, "--child", str(folder), engine, str(count), str(size)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def compute_in_child(folder: str, engine: str, count: str, size: str) -> None:
    keep_freed_memory()
    predictor = Predictor.open(folder, RuntimeSettings(engine=engine, threads=1))
    for _ in range(PARTS):
        predictor.features(make_images(int(count) // PARTS, int(size)))
    status = Path("/proc/self/status").read_text()  # getrusage would start at the memory of the parent process
    print(int(next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)) / 1e6)


def measure_memory(folder: Path, count: int, size: int) -> list[dict[str, Any]]:
    rows = []
    for engine in ("torch", "onnx") if has_onnx() else ("torch",):
        few, many = (peak_memory(folder, engine, number, size) for number in (count, 4 * count))
        row = plain_row(f"memory of features, {engine}", many, "GB")
        rows.append(row | {"versus": f"a quarter of the images ({few:.2f} GB)", "ratio": round(many / few, 3)})
    return rows


def has_onnx() -> bool:
    return all(find_spec(name) for name in ("onnxruntime", "onnxscript"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small network and few images")
    parser.add_argument("--size", type=int, default=128, help="edge of the images in pixels")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        compute_in_child(*options.child)
        return 0
    keep_freed_memory()
    torch.set_num_threads(1)
    model, size, count, rounds = (SMALL_MODEL, 160, 64, 1) if options.quick else (MODEL, options.size, 512, 7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkpoint"
        classes = tuple(map(str, range(10)))
        save_classifier(create_classifier(model, classes=classes, channels=3, size=size), folder)
        batch = images_per_pass(RuntimeSettings(), torch.device("cpu"), size)
        rows = measure(folder, make_images(count, size), batch, rounds)
        rows += measure_memory(folder, 64 if options.quick else 1024, size)
    for row in rows:
        interval = row["interval"]
        spread = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        print(f"{row['name']:<28} {row['value']:>8} {row['unit']}, {row['ratio']:.3f} of {row['versus']}{spread}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
