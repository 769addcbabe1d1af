"""One training by semilearn's own code (0.3.2), as a row of ``semi_supervised.py``.

    PATH/python benchmarks/semilearn_fit.py TASK.json

It runs in an environment of its own, which has semilearn and timm; of this package it only needs the definition of the
network, which has no other dependencies. The algorithm, losses, hooks, optimizer, schedule, average and transforms are
those of semilearn; what only a GPU has is replaced, because semilearn calls it everywhere. The task names a file of
arrays; the last line of the output is ``{"top1": ...}``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # for the definition of the network alone


OF_TRAINER = ("EvaluationHook", "CheckpointHook", "TimerHook", "LoggingHook")  # hooks that only look, save and print


def work_on_cpu() -> None:
    """Replaces what semilearn calls of CUDA without asking whether there is any."""
    Tensor.cuda = nn.Module.cuda = lambda self, *given: self  # type: ignore[assignment,method-assign]


class Network(nn.Module):
    """A network of timm as semilearn calls it."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        import timm

        import noisystudent.models.architectures.small
        import noisystudent.models.architectures.tiny  # noqa: F401  (both register their models with timm)

        self.net = timm.create_model(name, num_classes=classes, in_chans=3)

    def forward(self, pixels: Tensor, **options: bool) -> dict[str, Tensor]:
        """Logits, and the features before them."""
        features = self.net.forward_head(self.net.forward_features(pixels), pre_logits=True)
        return {"logits": self.net.get_classifier()(features), "feat": features}

    def no_weight_decay(self) -> set[str]:
        """No more than semilearn leaves out itself."""
        return set()


def config_of(task: dict[str, Any], out: str) -> SimpleNamespace:
    """The configuration of a task; what it leaves open is semilearn's default."""
    from semilearn import get_config

    return get_config(
        {
            "algorithm": task["method"],
            "dataset": "none",  # the images are given
            "num_classes": task["classes"],
            "num_labels": task["labels"],
            "ulb_dest_len": task["unlabeled"],
            "lb_dest_len": task["labels"],
            "batch_size": task["batch"],
            "eval_batch_size": 256,
            "uratio": task["ratio"],
            "epoch": 1,
            "num_train_iter": task["steps"],
            "num_warmup_iter": round(task["warmup"] * task["steps"]),
            "num_eval_iter": task["steps"],
            "num_log_iter": task["steps"],
            "optim": "AdamW",
            "lr": task["learning_rate"],
            "weight_decay": task["weight_decay"],
            "clip_grad": task["clip"],
            "ema_m": task["ema_decay"],
            "save_dir": out,
            "gpu": 0,
            "rank": 0,
            "world_size": 1,
            "distributed": False,
        }
    )


def transforms_of(task: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The transforms for small images: weak, strong, and that of the test; mirrored where the task mirrors."""
    from semilearn.datasets.augmentation import RandAugment
    from torchvision import transforms

    size = task["size"]
    to_tensor = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)]
    weak = [transforms.RandomCrop(size, padding=max(1, size // 8), padding_mode="reflect")]
    if task["flip"]:
        weak.append(transforms.RandomHorizontalFlip())
    strong = [*weak, RandAugment(3, 5)]
    return tuple(transforms.Compose(parts) for parts in ([*weak, *to_tensor], [*strong, *to_tensor], to_tensor))


def loader_of(images: Dataset[Any], batch: int, steps: int, seed: int) -> DataLoader[Any]:
    """Batches of random images for some steps."""
    generator = torch.Generator().manual_seed(seed)
    sampler = RandomSampler(images, num_samples=batch * steps, replacement=False, generator=generator)
    return DataLoader(images, batch_size=batch, sampler=sampler, drop_last=True)


def train(task: dict[str, Any]) -> float:
    """Trains as ``semilearn.Trainer.fit`` does, which needs a GPU; returns the accuracy of the averaged weights."""
    from semilearn import BasicDataset, get_algorithm

    arrays = np.load(task["arrays"])
    weak, strong, plain = transforms_of(task)
    labeled = BasicDataset(task["method"], arrays["x"], arrays["y"], task["classes"], weak)
    unlabeled = BasicDataset(task["method"], arrays["u"], None, task["classes"], weak, True, strong)
    config = config_of(task, tempfile.gettempdir())  # nothing is written there
    torch.manual_seed(task["seed"])
    np.random.seed(task["seed"])
    algorithm = get_algorithm(config, lambda num_classes, **given: Network(task["model"], num_classes), None, None)
    batches = zip(
        loader_of(labeled, task["batch"], task["steps"], task["seed"]),
        loader_of(unlabeled, task["batch"] * task["ratio"], task["steps"], task["seed"] + 1),
        strict=True,
    )
    for hook in OF_TRAINER:
        algorithm.hooks_dict.pop(hook)
    algorithm.call_hook("before_run")
    algorithm.model.train()
    for step, (of_labels, of_unlabeled) in enumerate(batches):
        algorithm.it = step
        algorithm.call_hook("before_train_step")
        algorithm.out_dict, algorithm.log_dict = algorithm.train_step(
            **algorithm.process_batch(**of_labels, **of_unlabeled)
        )
        algorithm.call_hook("after_train_step")
    algorithm.ema.apply_shadow()
    algorithm.model.eval()
    test = torch.stack([plain(image) for image in arrays["test"]])
    with torch.no_grad():
        answers = [algorithm.model(part)["logits"].argmax(dim=1) for part in test.split(256)]
    return float((torch.cat(answers).numpy() == arrays["truth"]).mean())


if __name__ == "__main__":
    work_on_cpu()
    torch.set_num_threads(1)
    print(json.dumps({"top1": train(json.loads(Path(sys.argv[1]).read_text()))}))
