"""Noisy Student training as a scikit-learn classifier, for feature vectors and for arrays of images."""

from __future__ import annotations

import numbers
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from noisystudent import api
from noisystudent.config import given_values
from noisystudent.data.source import Source
from noisystudent.data.sources.arrays import ArraySource
from noisystudent.models.feature_classifier import FeatureClassifier
from noisystudent.models.predictor import Predictor
from noisystudent.pipeline.features.vector_rounds import FeatureTraining, train_on_features
from noisystudent.pseudo_labels.selection.settings import SelectionSettings
from noisystudent.settings_input import SettingsInput, as_list
from noisystudent.training.settings import TrainSettings

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNLABELED = -1
STEPS, HIDDEN, NOISE = 300, (256,), 0.3  # on feature vectors, where the caller gives nothing
_BATCH, _RATE = 128, 5e-3


class NoisyStudentClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Noisy Student training (Xie et al., CVPR 2020) with scikit-learn's interface; y = -1 marks unlabeled rows.

    Feature vectors [N, F] train a small network under Gaussian noise and dropout. Arrays of images, uint8 [N, H, W]
    (gray) or [N, H, W, 3] (RGB), train as ``noisystudent.run`` does, or without unlabeled rows as ``train`` does. If -1
    and one other number are all of y, these are taken for the two classes, with a warning.

    Args:
        rounds: Students after the teacher, at least 0; the last one answers.
        steps: Steps of every training; None: 300 on feature vectors, and on images as ``noisystudent.run``.
        hidden: For feature vectors: widths of the hidden layers; None: (256,); () is a linear classifier.
        noise: For feature vectors: standard deviation of the noise on standardized features; None: 0.3.
        fraction: Every round adds this share of the unlabeled rows of each predicted class, above 0 up to 1; None: 1 /
            ``rounds``, and on images as ``noisystudent.run``.
        model: For images: the architecture, a name of timm or of a model for small images; None: as
            ``noisystudent.run``.
        backbone: For images: pretrained weights, as the setting ``model.backbone``; None: from scratch.
        settings: For images: further settings, as in ``noisystudent.run``.
        random_state: The seed, a ``RandomState``, or None for a new seed at every fit.

    Attributes:
        classes_: The classes, sorted.
        n_features_in_: The number of features; of images, their height.
        transduction_: For feature vectors: the label of every row of X that trained the last student, -1 for none.
        labeled_iter_: For feature vectors: the round whose pseudo label that is; 0 for given labels, -1 for none.
        predictor_: For images: the trained model, which ``noisystudent.export`` and other functions take.
    """

    def __init__(
        self,
        *,
        rounds: int = 2,
        steps: int | None = None,
        hidden: Sequence[int] | None = None,
        noise: float | None = None,
        fraction: float | None = None,
        model: str | None = None,
        backbone: str | None = None,
        settings: SettingsInput | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.rounds = rounds
        self.steps = steps
        self.hidden = hidden
        self.noise = noise
        self.fraction = fraction
        self.model = model
        self.backbone = backbone
        self.settings = settings
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:  # noqa: N803 - scikit-learn's names
        """Trains on labeled and unlabeled rows.

        Args:
            X: Feature vectors [N, F], or images uint8 [N, H, W] or [N, H, W, 3].
            y: Classes [N]: numbers or texts; -1 for unlabeled rows.

        Raises:
            ValueError: X or y cannot be used, no row is labeled, or a parameter has a wrong value or no effect.
            NoisyStudentError: As ``noisystudent.run`` does, on images.
        """
        images = _dimensions(X) > 2
        self._check_parameters(images)
        rows, labels_given = validate_data(self, X, y, dtype=None if images else np.float64, allow_nd=images)
        if images:
            _require_images(rows)
        labels = self._encode(labels_given)
        seed = self._seed()
        if images:
            self._fit_images(rows, labels, seed)
        else:
            self._fit_features(rows, labels, seed)
        return self

    def predict(self, X: npt.ArrayLike) -> Array:  # noqa: N803
        """The class of every row [N]; X is as in ``fit``."""
        probabilities = self.predict_proba(X)
        answers: Array = self.classes_[probabilities.argmax(axis=1)]
        return answers

    def predict_proba(self, X: npt.ArrayLike) -> Floats:  # noqa: N803
        """The probability of every class, float64 [N, K], in the order of ``classes_``; X is as in ``fit``."""
        check_is_fitted(self)
        images = self._images
        rows = validate_data(self, X, dtype=None if images else np.float64, allow_nd=images, reset=False)
        if images:
            _require_images(rows)
            return self.predictor_.predict_proba(_source(rows, None, ())).astype(np.float64)
        return np.exp(self._network.log_probabilities((rows - self._mean) / self._deviation))

    def _encode(self, y: Array) -> Ints:
        """The numbers of the classes, -1 for unlabeled rows; sets ``classes_``."""
        is_labeled = np.array([not _is_unlabeled(value) for value in y.tolist()])
        known = y[is_labeled]
        if not len(known):
            raise ValueError("y has only -1, so no row is labeled; give at least one label per class.")
        check_classification_targets(known)
        classes = np.unique(known)
        if len(classes) == 1 and not is_labeled.all():
            warnings.warn(
                f"y has only -1 and {classes[0]!r}: these are taken for two classes. Unlabeled rows need labels of two "
                "or more classes beside them.",
                stacklevel=3,
            )
            classes, is_labeled = np.unique(y), np.ones(len(y), bool)
            known = y
        labels = np.full(len(y), UNLABELED, np.int64)
        labels[is_labeled] = np.searchsorted(classes, known)
        self.classes_ = classes
        return labels

    def _fit_features(self, X: Floats, labels: Ints, seed: int) -> None:  # noqa: N803
        known = labels != UNLABELED
        self._images = False
        self._mean = X.mean(axis=0)
        deviation = X.std(axis=0)
        self._deviation = np.where(deviation > 0, deviation, 1.0)
        standardized = (X - self._mean) / self._deviation
        training = FeatureTraining(
            hidden=HIDDEN if self.hidden is None else tuple(self.hidden),
            noise=NOISE if self.noise is None else self.noise,
            rounds=self.rounds,
            train=TrainSettings(
                steps=STEPS if self.steps is None else self.steps, batch_size=_BATCH, learning_rate=_RATE
            ),
            selection=SelectionSettings(fraction=self.fraction or 1 / max(self.rounds, 1)),
            classes=len(self.classes_),
            seed=seed,
        )
        found = train_on_features(standardized[known], labels[known], standardized[~known], training)
        self._network: FeatureClassifier = found.classifier
        self.labeled_iter_ = np.zeros(len(labels), np.int64)
        self.labeled_iter_[~known] = found.rounds
        numbers_of = labels.copy()
        numbers_of[~known] = found.pseudo_labels
        is_text = self.classes_.dtype.kind not in "iuf"
        self.transduction_ = np.full(len(labels), UNLABELED, object if is_text else self.classes_.dtype)
        used = numbers_of != UNLABELED
        self.transduction_[used] = self.classes_[numbers_of[used]]

    def _fit_images(self, X: Array, labels: Ints, seed: int) -> None:  # noqa: N803
        if len(self.classes_) < 2:
            raise ValueError("y has a single class, and images need at least 2 classes.")
        known = labels != UNLABELED
        names = tuple(map(str, range(len(self.classes_))))
        labeled = _source(X[known], labels[known], names)
        given = [*self._image_settings(with_rounds=not known.all()), *as_list(self.settings)]
        is_named = self.random_state is None and "seed" in given_values(self.settings)
        of_seed = [] if is_named else [{"seed": seed}]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            if known.all():
                checkpoint = api.train(labeled, out=out, settings=[*given, *of_seed], quiet=True)
                self.predictor_ = Predictor.open(checkpoint.folder)
            else:
                unlabeled = _source(X[~known], None, ())
                run = api.run(labeled, unlabeled, out=out, settings=[*given, *of_seed], quiet=True)
                self.predictor_ = run.model
        self._images = True

    def _image_settings(self, *, with_rounds: bool) -> list[dict[str, object]]:
        """What the constructor's arguments say, which ``settings`` may not contradict, and what they may change."""
        said: dict[str, object] = {"model.teacher": self.model, "train.steps": self.steps}
        own: dict[str, object] = {}
        (own if self.backbone is None else said)["model.backbone"] = self.backbone or "none"
        if with_rounds:
            said |= {"selection.fraction": self.fraction, "rounds.count": self.rounds}
            own |= {"budget": "none", "rounds.controls": 0, "rounds.baselines": False}
        named = given_values(self.settings)
        return [
            {name: value for name, value in said.items() if value is not None},
            {name: value for name, value in own.items() if name not in named},
        ]

    def _check_parameters(self, images: bool) -> None:
        """Raises ``ValueError`` for values out of range, and for those without effect on this kind of X."""
        least = 1 if images else 0
        _check("rounds", self.rounds, _is_whole_from(least), f"a whole number of at least {least}")
        optional: list[tuple[str, object, Callable[[Any], bool], str]] = [
            ("steps", self.steps, _is_whole_from(1), "a whole number of at least 1"),
            ("noise", self.noise, lambda value: _is_number(value) and 0 <= value < np.inf, "a number of at least 0"),
            (
                "fraction",
                self.fraction,
                lambda value: _is_number(value) and 0 < value <= 1,
                "a number above 0, up to 1",
            ),
            ("hidden", self.hidden, _are_widths, "a sequence of whole numbers of at least 1"),
        ]
        for name, value, is_right, allowed in optional:
            if value is not None:
                _check(name, value, is_right, allowed)
        others = ("hidden", "noise") if images else ("model", "backbone", "settings")
        unused = [name for name in others if getattr(self, name) is not None]
        if unused:
            kind = "images" if images else "feature vectors"
            raise ValueError(f"{', '.join(unused)} has no effect on {kind}; leave it at None.")

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))


def _dimensions(X: npt.ArrayLike) -> int:  # noqa: N803
    known = getattr(X, "ndim", None)
    return np.asarray(X).ndim if known is None else int(known)


def _is_unlabeled(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == UNLABELED


def _source(images: Array, labels: Ints | None, classes: tuple[str, ...]) -> Source:
    """Images of an array as a source; the keys are row numbers."""
    pixels = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
    keys = [f"{row:08d}" for row in range(len(images))]
    is_labeled = labels is not None
    known = classes if is_labeled else None
    return ArraySource("arrays", pixels, keys=keys, labels=labels, classes=known, labeled=is_labeled)


def _require_images(X: Array) -> None:  # noqa: N803
    if X.dtype != np.uint8 or X.ndim not in (3, 4) or (X.ndim == 4 and X.shape[3] not in (1, 3)):
        raise ValueError(
            f"X has shape {X.shape} and type {X.dtype}; give feature vectors [N, F], or images as uint8 [N, H, W] "
            "(gray) or [N, H, W, 3] (RGB)."
        )


def _check(name: str, value: object, is_right: Callable[[Any], bool], allowed: str) -> None:
    if not is_right(value):
        raise ValueError(f"{name} is {value!r}; give {allowed}.")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole_from(least: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least


def _are_widths(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_whole_from(1), value))
