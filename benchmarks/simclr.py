"""What pretraining without labels is worth: classifiers on frozen features, fine-tuning, and SimCLRv2's whole chain.

    python benchmarks/simclr.py --json rows.json
    python benchmarks/simclr.py --epochs 30 --seeds 1
    python benchmarks/simclr.py --quick

On development splits of CIFAR-10 (JPEG, quality 75), which never open its test part: an encoder is pretrained on the
unlabeled images. With 100 labels per class, a linear classifier and nearest neighbors on its frozen features are
compared with the same ones on a network with random weights and on pixels. With 10 labels per class, fine-tuning it is
compared with training from scratch for as many steps; then a student is distilled from that on the unlabeled images, as
``run --recipe simclrv2`` does after its pretraining. The benchmark reads ``../shared/data`` and skips if it is missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import noisystudent
from noisystudent.config import read_recipe
from noisystudent.data.images import ImageFormat, Images, decode_source
from noisystudent.data.sources.open import open_source
from noisystudent.models.checkpoint import load_network
from noisystudent.models.projection import create_projected, encoder_of
from noisystudent.noise.crop import PlainView
from noisystudent.pipeline.pretraining.probe import features_of, fit_probe, nearest_classes
from noisystudent.runtime.device import seeded
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

MODEL, CPU = "tiny_resnet", torch.device("cpu")
PROBED, TUNED = 100, 10  # labels per class
OF_CHAIN = ("selection.", "distillation.", "rounds.", "objective.", "noise.", "train.")

Floats = npt.NDArray[np.float32]


def few_labels(labeled: str, out: Path) -> str:
    """A source of the first ten images of each class of another one, an .npz file."""
    with np.load(labeled) as arrays:
        images, labels, classes = (arrays[name] for name in ("x", "y", "classes"))
    rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[:TUNED] for label in np.unique(labels)]))
    np.savez(out, x=images[rows], y=labels[rows], classes=classes)
    return str(out)


def decoded(source: str, size: int) -> Images:
    """All images of a source at the size of the network."""
    stored = ImageFormat(size, 3)
    return decode_source(open_source(source, labeled=True), stored, max_corrupt_fraction=0.0, memory_limit_gb=8.0)


def pixels_of(images: Images, size: int) -> Floats:
    """The pixels of images as features, [N, F]."""
    sizes = torch.from_numpy(images.sizes.astype(np.int64))
    return PlainView(size)(torch.from_numpy(images.pixels), sizes).flatten(1).float().numpy() / 255


def probes(sources: Mapping[str, str], encoder: Path, seed: int, size: int) -> dict[str, float]:
    """Accuracies of both classifiers on frozen features, on those of a network with random weights, and on pixels."""
    labeled, asked = decoded(sources["labeled"], size), decoded(sources["test"], size)
    with seeded(seed, CPU):
        random = encoder_of(create_projected(MODEL, channels=3, size=size, layers=2, projection=128)).eval()
    trained = load_network(encoder)
    features = {
        "pretrained": (features_of(trained, labeled), features_of(trained, asked)),
        "random weights": (features_of(random, labeled), features_of(random, asked)),
        "pixels": (pixels_of(labeled, size), pixels_of(asked, size)),
    }
    found, classes = {}, int(labeled.labels.max()) + 1
    for name, (own, other) in features.items():
        _, head = fit_probe(own, labeled.labels, classes, CPU, seed)
        found[f"linear, {name}"] = float((head.log_probabilities(other).argmax(axis=1) == asked.labels).mean())
        nearest = nearest_classes(own, labeled.labels, other, classes)
        found[f"neighbors, {name}"] = float((nearest == asked.labels).mean())
    return found


def tuned(
    sources: Mapping[str, str], encoder: Path, seed: int, options: argparse.Namespace, work: Path
) -> dict[str, float]:
    """Accuracies with few labels: from scratch, fine-tuned, and a student distilled from the fine-tuned model."""
    common = {
        "data.size": options.size,
        "data.near_duplicates": 4,
        "runtime.precision": options.precision,
        "seed": seed,
        "train.steps": options.steps,
        "noise.strength": 0.25,
        "noise.dropout": 0.0,
        "noise.stochastic_depth": 0.0,
    }
    labeled = few_labels(sources["labeled"], work / "few.npz")
    scratch = noisystudent.train(labeled, out=work / "scratch", model=MODEL, settings=common, quiet=True)
    recipe = {name: value for name, value in read_recipe("simclrv2").items() if name.startswith(OF_CHAIN)}
    of_run = {
        "model.backbone": str(encoder),
        "model.tune": "all",
        "rounds.controls": 0,
        "rounds.baselines": False,
        "budget": "none",
    }
    chain = noisystudent.run(
        labeled,
        sources["unlabeled"],
        test=sources["test"],
        out=work / "chain",
        settings=[recipe, common, of_run],
        quiet=True,
    )
    summary = chain.summary
    assert summary.teacher
    assert summary.student
    scores = {"fine-tuned": summary.teacher.test, "distilled": summary.student.test}
    from_scratch = noisystudent.evaluate(checkpoint=scratch.folder, source=sources["test"])
    return {"from scratch": from_scratch.top1} | {name: score.top1 for name, score in scores.items() if score}


def run_seed(seed: int, options: argparse.Namespace, work: Path) -> dict[str, float]:
    """All accuracies of one draw of the images."""
    work.mkdir(parents=True, exist_ok=True)
    sources = write_split("cifar10", Drawing(PROBED, options.unlabeled, seed, development=True), work / "data")
    settings = {
        "data.size": options.size,
        "data.near_duplicates": 4,
        "runtime.precision": options.precision,
        "pretraining.epochs": options.epochs,
        "seed": seed,
        **dict(setting.split("=", 1) for setting in options.set),
    }
    made = noisystudent.pretrain(
        sources["unlabeled"], test=sources["test"], out=work / "encoder", model=MODEL, settings=settings, quiet=True
    )
    found = probes(sources, made.folder, seed, options.size) | tuned(sources, made.folder, seed, options, work)
    shown = ", ".join(f"{name} {100 * value:.1f}" for name, value in found.items())
    print(f"seed {seed} ({made.checkpoint.seconds:.0f} s of pretraining): {shown}", flush=True)
    return found


def rows_of(by_seed: list[dict[str, float]], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean accuracies over the seeds with their range."""
    rows = []
    for name in by_seed[0]:
        values = [found[name] for found in by_seed]
        rows.append(
            {
                "name": f"{name}, {PROBED if ',' in name else TUNED} labels per class",
                "value": round(float(np.mean(values)), 4),
                "unit": "accuracy",
                "interval": [min(values), max(values)],
                "seeds": len(values),
                "epochs": options.epochs,
                "size": options.size,
                "unlabeled": options.unlabeled,
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=15.0, help="of pretraining")
    parser.add_argument("--unlabeled", type=int, default=5000)
    parser.add_argument("--size", type=int, default=16, help="edge of the images in pixels")
    parser.add_argument("--steps", type=int, default=100, help="of every other training, of 128 images")
    parser.add_argument("--precision", default="float32", help="bfloat16 is faster on processors that compute in it")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the pretraining")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="few images, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if is_missing("cifar10"):
        return 0
    if options.quick:
        options.seeds, options.epochs, options.unlabeled, options.size, options.steps = 1, 1.0, 300, 8, 4
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        by_seed = [run_seed(1000 + seed, options, work / str(1000 + seed)) for seed in range(options.seeds)]
    rows = rows_of(by_seed, options)
    for row in rows:
        low, high = row["interval"]
        print(f"{row['name']:<50} {100 * row['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
