"""Simple classifiers beside a run, on the same labels and the same test: what a user could do instead in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.data.images import Images, content_fingerprint
from noisystudent.data.splits import HeldOut
from noisystudent.errors import SettingsError
from noisystudent.models.settings import plan_teacher
from noisystudent.noise.crop import PlainView
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.checkpoints import read_checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.stage import compute_features, compute_plain_features
from noisystudent.pipeline.finish import SUMMARY
from noisystudent.pipeline.heads.checkpoint import head_stage
from noisystudent.pipeline.pretraining.checks import pretrains
from noisystudent.pipeline.pretraining.probe import probe
from noisystudent.pipeline.pretraining.stage import PRETRAIN
from noisystudent.results.run import Baseline, StageCost
from noisystudent.runtime.blas import one_blas_thread
from noisystudent.runtime.progress import Reporter
from noisystudent.training.linear_head import LinearHead

BASELINES = "baselines"
SCORES = f"{BASELINES}/scores"  # the stage
LARGEST_SHARE = 0.05  # of the seconds of a run
MOST_IMAGES = 20_000  # label spreading of more images takes minutes
HOG_EDGE = 64  # pixels; larger images are reduced, so that a cell shows a part of the object
SHORTEST_RUN = 60.0  # seconds; a shorter run is a try, which a table that depends on the load would not serve
TIMED_IMAGES = 32  # whose histograms tell what those of all take
KERNEL_SPEED = 1e9  # products per second of the kernels of a support vector machine; half of what one core had

Points = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def measure_baselines(context: RunContext) -> tuple[Baseline, ...]:
    """The accuracy of simple classifiers on the test images, else on the validation images.

    With a backbone: logistic regression and label spreading on its frozen features, with scikit-learn's usual settings.
    In a run that pretrains: the probes of its encoder. Else: a support vector machine on histograms of oriented
    gradients (Dalal and Triggs 2005), by scikit-image.

    Raises:
        SettingsError: ``rounds.baselines`` is true, and scikit-image is not installed.
    """
    held_out = context.splits.test or context.splits.validation
    if held_out is None or not _wanted(context):
        return ()
    if pretrains(context.settings):
        return _on_encoder(context)
    on_features = _has_features(context)
    inputs = {
        "labeled": content_fingerprint(context.splits.labeled),
        "unlabeled": context.splits.unlabeled.fingerprint,
        "held_out": held_out.fingerprint,
        "on": context.backbone.fingerprint if on_features and context.backbone else "gradients",
        "size": context.splits.format.size,
    }
    folder = context.folder_of(SCORES)
    if not context.is_complete(SCORES, inputs):
        found = _on_features(context, held_out) if on_features else _on_gradients(context, held_out)

        def write() -> None:
            write_result(folder / "summary.json", found)
            context.commit(BASELINES, inputs, StageCost(name=SCORES))

        context.engine.group.on_main(write)
    return read_result(tuple[Baseline, ...], folder / "summary.json")


def _wanted(context: RunContext) -> bool:
    given = context.settings.rounds.baselines
    if pretrains(context.settings):
        return given is not False
    has_features = _has_features(context)
    if given is True and not has_features and not _has_scikit_image():
        raise SettingsError(
            "rounds.baselines true needs scikit-image for runs without a backbone: pip install "
            "'noisystudent[baselines]'."
        )
    if given != "auto":
        return given
    if not has_features:
        return context.engine.group.on_main(partial(_is_cheap, context, _seconds_on_gradients))
    few = len(context.splits.labeled) + sum(context.splits.unlabeled.shard_sizes) <= MOST_IMAGES
    if not few or context.settings.model.tune == HEAD:
        return few
    return context.engine.group.on_main(partial(_is_cheap, context, _seconds_on_features))


def _is_cheap(context: RunContext, seconds_of: Callable[[RunContext], float | None]) -> bool:
    """Whether the classifiers take a small share of what the run took; a finished run stays as it is."""
    if (context.folder_of(SCORES) / "summary.json").is_file():
        return True
    if (Path(context.settings.out) / SUMMARY).is_file():
        return False
    seconds = seconds_of(context)
    return seconds is not None and seconds <= LARGEST_SHARE * (context.costs.total().seconds or 0.0)


def _seconds_on_features(context: RunContext) -> float | None:
    """What a pass of the backbone over all images takes, at the speed at which the run's models were scored."""
    splits = context.splits
    scored = [stage for stage in context.costs.total().stages if stage.name.startswith("scores/")]
    seconds, predicted = sum(stage.seconds for stage in scored), sum(stage.images_predicted for stage in scored)
    images = len(splits.labeled) + sum(splits.unlabeled.shard_sizes) + _held_out_images(context)
    return seconds / predicted * images if predicted else None


def _seconds_on_gradients(context: RunContext) -> float | None:
    """What histograms of labeled and held-out images and their support vector machine take.

    None in a short run, and without scikit-image.
    """
    if (context.costs.total().seconds or 0.0) < SHORTEST_RUN or not _has_scikit_image():
        return None
    labeled = context.splits.labeled
    timed = labeled.take(np.arange(min(TIMED_IMAGES, len(labeled))))
    width = int(_gradients_of_run(context, labeled.take(np.arange(1))).shape[1])  # loads scikit-image, too
    started = time.perf_counter()
    _gradients_of_run(context, timed)
    of_image = (time.perf_counter() - started) / len(timed)
    images = len(labeled) + _held_out_images(context)
    return images * of_image + images * len(labeled) * width / KERNEL_SPEED


def _has_scikit_image() -> bool:
    return find_spec("skimage") is not None


def _held_out_images(context: RunContext) -> int:
    return sum(len(part) for part in (context.splits.validation, context.splits.test) if part)


def _has_features(context: RunContext) -> bool:
    """Whether the models start from a backbone, whose frozen features the classifiers see."""
    plan = plan_teacher(context.settings.model, context.splits.format.size)
    return context.backbone is not None and context.backbone.fits(plan.name)


def _on_encoder(context: RunContext) -> tuple[Baseline, ...]:
    """Classifiers on the frozen features of the encoder that the run has pretrained."""
    scores = probe(context, read_checkpoint(PRETRAIN, context.folder_of(PRETRAIN)))
    assert scores, "a run has labels"
    return (
        Baseline(name="linear probe of the encoder", top1=scores.linear),
        Baseline(name="nearest neighbors on the encoder", top1=scores.neighbors),
    )


def _on_features(context: RunContext, held_out: HeldOut) -> tuple[Baseline, ...]:
    settings, labels = context.settings, context.splits.labeled.labels
    plan = plan_teacher(settings.model, context.splits.format.size)
    if settings.model.tune == HEAD:  # they are stored by now
        context = replace(context, reporter=Reporter(quiet=True))
    compute = compute_features if settings.model.tune == HEAD else compute_plain_features
    features = compute(context, plan)

    def represent(images: Images) -> Points:
        return features.plain.features(images).astype(np.float32)

    labeled, unlabeled = (part[0].astype(np.float32) for part in (features.labeled, features.unlabeled))
    fit = partial(_logistic_regression, labeled, labels)
    checkpoint, head = head_stage(context, f"{BASELINES}/logistic-regression", features, {"labels": "given"}, fit)
    spreading = LabelSpreading(kernel="knn", n_neighbors=10, alpha=0.2)
    targets = np.concatenate([labels, np.full(len(unlabeled), -1)])
    with np.errstate(invalid="ignore"):  # it divides by zero for images that no label reaches
        spreading.fit(np.concatenate([labeled, unlabeled]), targets)
        return (
            Baseline(
                name="logistic regression on features",
                top1=_top1(held_out, lambda images: head.log_probabilities(represent(images))),
                checkpoint=checkpoint.name,
            ),
            Baseline(
                name="label spreading on features",
                top1=_top1(
                    held_out, lambda images: one_hot(spreading.predict(represent(images)), len(context.splits.classes))
                ),
            ),
        )


def _logistic_regression(features: Points, labels: Ints) -> LinearHead:
    """Scikit-learn's logistic regression on standardized features, as a head on the features themselves."""
    scaler = StandardScaler().fit(features)
    with one_blas_thread():
        fitted = LogisticRegression(max_iter=2000).fit(scaler.transform(features), labels)
    weight, bias = fitted.coef_, fitted.intercept_
    if len(weight) == 1:  # of two classes, it has the second one's alone
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / scaler.scale_
    return LinearHead(weight.astype(np.float32), (bias - weight @ scaler.mean_).astype(np.float32))


def _on_gradients(context: RunContext, held_out: HeldOut) -> tuple[Baseline, ...]:
    represent = partial(_gradients_of_run, context)
    machine = SVC(C=10.0)  # histograms are of one scale, and standardizing them gains nothing (NOTEBOOK.md)
    machine.fit(represent(context.splits.labeled), context.splits.labeled.labels)
    classes = len(context.splits.classes)
    top1 = _top1(held_out, lambda images: one_hot(machine.predict(represent(images)), classes))
    return (Baseline(name="support vector machine on HOG", top1=top1),)


def _gradients_of_run(context: RunContext, images: Images) -> Points:
    return gradients(images, min(HOG_EDGE, context.splits.format.size))


def gradients(images: Images, edge: int) -> Points:
    """Histograms of oriented gradients of gray views of ``edge`` pixels, float32 [N, F]."""
    from skimage.feature import hog

    views = PlainView(edge)(torch.from_numpy(images.pixels), torch.from_numpy(images.sizes.astype(np.int64)))
    cell = max(2, edge // 8)
    rows = [hog(view, pixels_per_cell=(cell, cell), cells_per_block=(2, 2)) for view in views.numpy().mean(axis=1)]
    return np.stack(rows).astype(np.float32)


def one_hot(predicted: Ints, classes: int) -> Points:
    """Log-probabilities of sure answers, float32 [N, K]."""
    sure = np.eye(classes, dtype=np.float32)[predicted]
    return np.asarray(np.log(sure + 1e-6), np.float32)


def _top1(held_out: HeldOut, answer: Callable[[Images], Points]) -> float:
    held = held_out.predict_and_join(answer)
    return float((held.log_probabilities.argmax(axis=1) == held.labels).mean())
