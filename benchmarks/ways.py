"""Ways to use unlabeled images, each from a split to a test accuracy: networks, heads, and what others offer.

``semi_supervised.py`` runs them. A way that this machine cannot run raises ``Missing`` with the reason.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

import noisystudent
from noisystudent.config import resolve
from noisystudent.data.images import ImageFormat, Images, decode_source
from noisystudent.data.settings import DataSettings
from noisystudent.data.sources.open import open_source
from noisystudent.models.settings import plan_teacher
from noisystudent.pipeline.baselines import HOG_EDGE, gradients
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.build_context import build_context
from noisystudent.pipeline.features.stage import compute_features
from noisystudent.runtime.progress import Reporter
from noisystudent.training.settings import TrainSettings

BATCH, RATIO = 128, 3  # images per step, and unlabeled ones per labeled one
HARD = {
    "rounds.count": 1, "rounds.controls": 0, "selection.rule": "threshold", "selection.threshold": 0.95,
    "selection.per_class": "none", "objective.labels": "hard",
    "objective.label_smoothing": 0.0,  # a smoothed teacher is never that sure
}  # fmt: skip
LONG = {
    "rounds.count": 1, "rounds.controls": 0, "train.warm_start": True, "selection.fraction": 1.0,
    "objective.labels": "soft", "objective.temperature": 0.5, "selection.neighbors": "mean",
}  # fmt: skip
OPEN = {"noise.strength": "auto"}  # what a budget decides
ONLINE = {"noise.strength": 0.5, "noise.dropout": 0.0, "noise.stochastic_depth": 0.0, "objective.label_smoothing": 0.0}
ADJUSTED = {"objective.logit_adjustment": 1.0}
DROPPED = {"selection.foreign": "drop", "data.few_labels_beside_test": 2}
ALL_LABELS = {"data.validation_fraction": 0.0}  # a training without a test source would set some aside
METHODS = ("fixmatch", "flexmatch", "freematch", "softmatch", "mean_teacher")
BY_SEMILEARN = ("fixmatch", "freematch")
SEMILEARN_FIT = Path(__file__).with_name("semilearn_fit.py")

Points = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Represent = Callable[["Task"], tuple[Points, Ints, Points, Points, Ints]]
Way = Callable[["Task"], float]


class Missing(Exception):
    """A way cannot be run here; the text says why."""


@dataclass(frozen=True)
class Task:
    """A split with what all ways share.

    Attributes:
        sources: The sources labeled, unlabeled and test.
        samples: Images through forward and backward in all.
        settings: Of all networks.
        out: A folder for the work.
        backbone: The pretrained weights that everything starts from; "none" is from scratch.
        semilearn: The Python of an environment that has semilearn; empty where there is none.
        given: The settings that the user names, which win over those of a way.
    """

    sources: dict[str, str]
    samples: int
    settings: dict[str, Any]
    out: Path
    backbone: str = "none"
    semilearn: str = ""
    given: frozenset[str] = frozenset()

    @property
    def batch(self) -> int:
        """Images per step."""
        return int(self.settings.get("train.batch_size", BATCH))

    @property
    def start(self) -> dict[str, Any]:
        """The settings of what a network starts from."""
        return {} if self.backbone == "none" else {"model.backbone": self.backbone, "model.tune": "all"}

    def unless_given(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings of a way that the user does not name."""
        return {name: value for name, value in settings.items() if name not in self.given}

    def steps(self, stages: int = 1) -> int:
        """Steps of each of some stages that share the samples."""
        return self.samples // (self.batch * stages)


# ---------------------------------------------------------------- networks


def labels_only(task: Task) -> float:
    """One training on the labels with all samples."""
    out = task.out / "labels-only"
    settings = {**task.settings, **task.start, **ALL_LABELS, "train.steps": task.steps()}
    noisystudent.train(task.sources["labeled"], out=out, settings=settings, quiet=True)
    return noisystudent.evaluate(checkpoint=out, source=task.sources["test"]).top1


def offline(task: Task, name: str, settings: dict[str, Any]) -> float:
    """A teacher and one student, each with half of the samples."""
    start = task.start or {"model.backbone": "none"}
    given = {**task.settings, **start, "budget": "none", "train.steps": task.steps(2), **settings}
    run = noisystudent.run(**task.sources, out=task.out / name, settings=given, quiet=True)
    return run.summary.rounds[-1].test.top1  # type: ignore[union-attr]


def budgeted(task: Task, name: str, settings: dict[str, Any]) -> float:
    """What a user gets for the samples, the control included: the delivered model."""
    settings = task.unless_given(settings)
    left_open = {name: value for name, value in task.settings.items() if name not in settings}
    given = {**left_open, "model.backbone": "none", "budget": f"{task.samples}samples", **settings}
    run = noisystudent.run(**task.sources, out=task.out / name, settings=given, quiet=True)
    seen = run.summary.cost.samples_seen
    assert seen is not None
    assert seen <= task.samples
    return run.student.test.top1  # type: ignore[union-attr]


def online(task: Task, method: str) -> float:
    """One training with an online objective, with all samples."""
    out = task.out / method
    settings = {**task.settings, **task.start, **ALL_LABELS, **task.unless_given(ONLINE)}
    settings |= {"online.method": method, "train.steps": task.steps()}
    sources = {role: task.sources[role] for role in ("labeled", "unlabeled")}
    noisystudent.train(**sources, out=out, settings=settings, quiet=True)
    return noisystudent.evaluate(checkpoint=out, source=task.sources["test"]).top1


def by_semilearn(task: Task, method: str) -> float:
    """The same method, network, batch and rate by semilearn's own code, in its environment.

    Raises ``Missing`` without such an environment.
    """
    if not task.semilearn:
        raise Missing("not installed (--semilearn-python)")
    labeled, unlabeled, test = (decoded(task, role) for role in ("labeled", "unlabeled", "test"))
    folder = task.out / f"semilearn-{method}"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"x": labeled, "u": unlabeled, "test": test}
    np.savez(
        folder / "arrays.npz",
        **{name: images.pixels.transpose(0, 2, 3, 1) for name, images in arrays.items()},
        y=labeled.labels,
        truth=test.labels,
    )
    of_labels = max(1, task.batch // (1 + 2 * RATIO))
    given = TrainSettings()
    content = {
        "method": method,
        "arrays": str(folder / "arrays.npz"),
        "model": task.settings["model.teacher"],
        "classes": int(labeled.labels.max()) + 1,
        "labels": len(labeled),
        "unlabeled": len(unlabeled),
        "size": int(task.settings["data.size"]),
        "flip": str(task.settings.get("noise.flip", "false")).lower() == "true",
        "batch": of_labels,
        "ratio": RATIO,
        "steps": max(1, task.samples // (of_labels * (1 + 2 * RATIO))),
        "warmup": given.warmup,
        "learning_rate": float(task.settings.get("train.learning_rate", given.learning_rate)),
        "weight_decay": given.weight_decay,
        "clip": given.clip,
        "ema_decay": given.ema_decay,
        "seed": task.settings["seed"],
    }
    (folder / "task.json").write_text(json.dumps(content, indent=1) + "\n")
    words = [task.semilearn, str(SEMILEARN_FIT), str(folder / "task.json")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise Missing(f"not installed ({task.semilearn}: {last})")
    return float(json.loads(done.stdout.strip().splitlines()[-1])["top1"])


# ---------------------------------------------------------------- heads on a frozen backbone


def heads(task: Task, model: str) -> float:
    """A run on the backbone's features, by its defaults: the labels-only head, or the model that it delivers."""
    settings = {"seed": task.settings["seed"], "data.near_duplicates": "none", "runtime.threads": 1}
    settings |= {"model.backbone": task.backbone, "model.tune": "head", "data.size": task.settings["data.size"]}
    settings |= {name: value for name, value in task.settings.items() if name.startswith("head.")}
    run = noisystudent.run(**task.sources, out=task.out / "heads", settings={**settings, "budget": "none"}, quiet=True)
    found = run.summary.teacher if model == "teacher" else run.student
    return found.test.top1  # type: ignore[union-attr]


# ---------------------------------------------------------------- scikit-learn


def decoded(task: Task, role: str, edge: int | None = None) -> Images:
    """The images of a source in three channels, by default at the size of the networks."""
    source = open_source(task.sources[role], labeled=role != "unlabeled")
    format = ImageFormat(edge or int(task.settings["data.size"]), 3)
    return decode_source(source, format, max_corrupt_fraction=0, memory_limit_gb=8)


def pixels(task: Task) -> tuple[Points, Ints, Points, Points, Ints]:
    """Labeled vectors and their labels, unlabeled ones, and those of the test with theirs: the pixels."""
    size = int(task.settings["data.size"])
    return _vectors(task, lambda images: images.pixels.reshape(len(images), -1).astype(np.float32), size)


def oriented_gradients(task: Task) -> tuple[Points, Ints, Points, Points, Ints]:
    """The same of histograms of oriented gradients (HOG), of images as large as they are, up to ``HOG_EDGE``.

    Raises ``Missing`` without scikit-image.
    """
    if find_spec("skimage") is None:
        raise Missing("not installed (scikit-image)")
    labeled = {"labeled": open_source(task.sources["labeled"], labeled=True)}
    edge = min(HOG_EDGE, Workload.of(labeled, DataSettings()).edge)
    return _vectors(task, lambda images: gradients(images, edge), edge)


def features(task: Task) -> tuple[Points, Ints, Points, Points, Ints]:
    """The same of the backbone's features before its last layer."""
    settings = {"model.backbone": task.backbone, "model.tune": "head", "data.size": task.settings["data.size"]}
    settings |= {"seed": task.settings["seed"], "budget": "none", "head.views": 0, "data.near_duplicates": "none"}
    context = build_context(
        resolve({**task.sources, "out": str(task.out / "features"), **settings}), Reporter(quiet=True)
    )
    plan = plan_teacher(context.settings.model, context.splits.format.size)
    found, test = compute_features(context, plan), context.splits.test
    assert test
    held = test.predict_and_join(lambda images: found.plain.features(images).astype(np.float32))
    labeled, unlabeled = (part[0].astype(np.float32) for part in (found.labeled, found.unlabeled))
    return labeled, context.splits.labeled.labels, unlabeled, held.log_probabilities, held.labels


def _vectors(task: Task, represent: Callable[[Images], Points], edge: int) -> tuple[Points, Ints, Points, Points, Ints]:
    labeled, unlabeled, test = (decoded(task, role, edge) for role in ("labeled", "unlabeled", "test"))
    return represent(labeled), labeled.labels, represent(unlabeled), represent(test), test.labels


def classified(
    task: Task,
    represent: Represent,
    model: Any,  # noqa: ANN401
    *,
    uses_unlabeled: bool,
    standardized: bool = True,
) -> float:
    """The test accuracy of a classifier of scikit-learn, by default on standardized vectors."""
    x, y, u, test, truth = represent(task)
    if standardized:
        scaler = StandardScaler().fit(np.concatenate([x, u]))
        x, u, test = (scaler.transform(part) for part in (x, u, test))
    with np.errstate(invalid="ignore"):  # label spreading divides by zero for images that no label reaches
        if uses_unlabeled:
            model.fit(np.concatenate([x, u]), np.concatenate([y, np.full(len(u), -1)]))
        else:
            model.fit(x, y)
        return float((model.predict(test) == truth).mean())


# ---------------------------------------------------------------- by name


def ways(start: str, *, long_tailed: bool = False, foreign: bool = False) -> dict[str, Way]:
    """Every way by name.

    Args:
        start: scratch or backbone.
        long_tailed: Whether there is a long tail, so that a logit adjustment has an effect.
        foreign: Whether there are foreign images to be left out.
    """
    methods: dict[str, Way] = {method: lambda task, method=method: online(task, method) for method in METHODS}  # type: ignore[misc]
    if start == "backbone":
        return {
            "labels only, head": lambda task: heads(task, "teacher"),
            "default": lambda task: heads(task, "delivered"),
            "labels only, fine-tuned": labels_only,
            "one long round, soft, fine-tuned": lambda task: offline(task, "long", LONG),
            **{f"{name}, fine-tuned": way for name, way in methods.items()},
            **_by_scikit_learn("features", features),
        }
    named: dict[str, Way] = {
        "labels only": labels_only,
        "pseudo labels above 0.95, hard": lambda task: offline(task, "naive", HARD),
        "one long round, soft": lambda task: offline(task, "long", LONG),
        "default": lambda task: budgeted(task, "default", OPEN),
        "recipe online": lambda task: budgeted(task, "recipe-online", {"recipe": "online", **ONLINE}),
    }
    if long_tailed:
        named["default, logit adjustment"] = lambda task: budgeted(task, "adjusted", {**OPEN, **ADJUSTED})
    if foreign:
        named["default, foreign dropped"] = lambda task: budgeted(task, "dropped", {**OPEN, **DROPPED})
    of_semilearn: dict[str, Way] = {
        f"{method}, semilearn": lambda task, method=method: by_semilearn(task, method)  # type: ignore[misc]
        for method in BY_SEMILEARN
    }
    of_vectors = _by_scikit_learn("pixels", pixels) | _by_scikit_learn("HOG", oriented_gradients) | _machines()
    return named | methods | of_semilearn | of_vectors


def _machines() -> dict[str, Way]:
    """The support vector machine on HOG, which a run has beside it, and the same on standardized vectors."""

    def of(*, standardized: bool) -> Way:
        given = {"uses_unlabeled": False, "standardized": standardized}
        return lambda task: classified(task, oriented_gradients, SVC(C=10.0), **given)

    return {"SVC, HOG": of(standardized=False), "SVC, standardized HOG": of(standardized=True)}


def _by_scikit_learn(name: str, represent: Represent) -> dict[str, Way]:
    """scikit-learn's classifiers on one kind of vectors, made anew for every split."""

    def regression() -> LogisticRegression:
        return LogisticRegression(C=0.01, max_iter=1000)

    def of(make: Callable[[], Any], *, uses_unlabeled: bool) -> Way:
        return lambda task: classified(task, represent, make(), uses_unlabeled=uses_unlabeled)

    return {
        f"logistic regression, {name}": of(regression, uses_unlabeled=False),
        f"SelfTraining, {name}": of(lambda: SelfTrainingClassifier(regression(), threshold=0.75), uses_unlabeled=True),
        f"LabelSpreading, {name}": of(lambda: LabelSpreading(kernel="knn", n_neighbors=10), uses_unlabeled=True),
    }
