"""The predictor: any model that answers for images, whether it is a checkpoint or a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noisystudent.data.images import ImageFormat, Images
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.calibration import Calibration, usable_calibration
from noisystudent.models.classifier import Classifier, UnitPixels
from noisystudent.models.factory import ModelFactory
from noisystudent.models.image_inputs import ImageInput, map_decoded
from noisystudent.models.load import (
    CheckpointName,
    absolute_name,
    calibration_of,
    fingerprint_at,
    open_classifier,
    short_name,
    training_images_of,
)
from noisystudent.models.load_arguments import refuse_runtime
from noisystudent.models.onnx_engine import OnnxNetwork
from noisystudent.models.teacher import (
    format_of,
    log_probabilities,
    on_device,
    require_channels,
    require_numbers,
    stack_rows,
)
from noisystudent.models.training_images import Digests
from noisystudent.models.wrapped_module import (
    NormalizedModule,
    check_module,
    class_names,
    device_of,
    features_of,
    module_fingerprint,
    normalized,
    require_eval_mode,
    require_features,
    require_logits,
    width_of_features,
)
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.device import autocast, images_per_pass, open_device
from noisystudent.runtime.html import table_html
from noisystudent.runtime.settings import RuntimeSettings

Floats = npt.NDArray[np.float32]

_DEFAULTS = RuntimeSettings()
CLASSES_NAMED = 20


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Predictor:
    """A model that answers for images: in evaluation mode, without gradients and noise, with its own preprocessing.

    Open a checkpoint or wrap a module with ``noisystudent.load``. A predictor computes where its weights lie.

    Attributes:
        name: the name in reports and messages.
        fingerprint: identifies the model; results are stored with it.
        classes: names of the classes, in the order of the logits.
        size: edge in pixels of the square view that the model takes.
        channels: 3, or 1 for gray images.
        batch_size: images per forward pass.
        precision: ``float32``, or ``bfloat16`` or ``float16`` for mixed precision.
        unit: logits [B, K] of floats [B, C, size, size] from 0 to 1; differentiable by the pixels.
        classifier: the classifier of a checkpoint; None for a module.
        crop: the share of an image's short edge that the view of a module shows; None: the official one. A classifier
            has its own.
        origin: text that opens the same model in another process; empty for a module.
        training_images: digests of the labeled images that the model was trained on; None where they are not recorded.
        onnx: the network in onnxruntime, where that computes the answers; ``unit`` is torch's in any case.
        calibration: the temperature that the run fitted on labels aside; None where none is recorded.
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    size: int
    channels: int
    batch_size: int
    precision: str = "float32"
    unit: nn.Module
    classifier: Classifier | None = None
    crop: float | None = None
    origin: str = ""
    training_images: Digests | None = None
    onnx: OnnxNetwork | None = None
    calibration: Calibration | None = None

    @classmethod
    def open(
        cls,
        model: CheckpointName | Predictor,
        runtime: RuntimeSettings = _DEFAULTS,
        *,
        factory: ModelFactory | None = None,
    ) -> Predictor:
        """Opens a checkpoint on the device that the settings name; returns a predictor as it is.

        Args:
            model: a checkpoint's folder, the folder of a run (its ``best/`` is opened), ``timm:NAME``,
                ``local-dir:FOLDER``, or a predictor.
            runtime: device, precision, engine and batch size.
            factory: builds the network of a checkpoint whose architecture is the user's own.

        Raises:
            ModelError: as ``open_classifier`` does, for a module, which needs ``noisystudent.load``, and as
                ``OnnxNetwork`` does.
            SettingsError: settings are given with a predictor, which has its own; or ``precision`` is auto.
        """
        if isinstance(model, Predictor):
            refuse_runtime(repr(model), runtime)
            return model
        require_model(model)
        if runtime.precision == "auto":
            raise SettingsError(
                "runtime.precision auto times training; a predictor needs float32, bfloat16 or float16."
            )
        on_cpu = {"device": "cpu"} if runtime.engine == "onnx" else {}
        classifier = open_classifier(model, factory).to(open_device(runtime.model_copy(update=on_cpu)))
        fingerprint = fingerprint_at(model, classifier.net.state_dict())
        origin = "" if factory else absolute_name(model)
        opened = cls.of_classifier(short_name(model), fingerprint, classifier, runtime, origin=origin)
        return replace(opened, training_images=training_images_of(model), calibration=calibration_of(model))

    @classmethod
    def of_classifier(
        cls, name: str, fingerprint: str, classifier: Classifier, runtime: RuntimeSettings, *, origin: str = ""
    ) -> Predictor:
        """Wraps a classifier of this package on its device; it is put into evaluation mode and frozen."""
        classifier.eval().requires_grad_(False)
        return cls(
            name=name,
            fingerprint=fingerprint,
            classes=classifier.classes,
            size=classifier.size,
            channels=classifier.channels,
            batch_size=images_per_pass(runtime, classifier.device, classifier.size),
            precision=runtime.precision,
            unit=UnitPixels(classifier).eval(),
            classifier=classifier,
            origin=origin,
            onnx=OnnxNetwork(classifier) if runtime.engine == "onnx" else None,
        )

    @classmethod
    def of_module(
        cls,
        module: nn.Module,
        *,
        classes: Sequence[str],
        size: int,
        channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        batch_size: int = 256,
        name: str = "",
    ) -> Predictor:
        """Wraps any module that gives logits [B, K] of images; it stays where it is and as it is.

        The fingerprint covers the name, the module's text form, its parameters and its buffers. It cannot cover other
        attributes: give modules that differ in those alone different names.

        Args:
            module: takes floats [B, channels, size, size], in evaluation mode.
            classes: names of the classes, in the order of the logits.
            size: edge in pixels of the square images that it takes.
            channels: 3, or 1 for gray images.
            mean: with ``std``, per channel: the module gets (pixels - mean) / std, with pixels from 0 to 1. Without
                both, it gets pixels from 0 to 1.
            std: see ``mean``.
            batch_size: images per forward pass.
            name: the name in reports; by default the name of the module's class.

        Raises:
            ModelError: the module is in training mode; it fails on such images; its answers are no logits
                (probabilities, numbers that are not finite) or are of another number of classes; a class has no name
                or two have the same; or mean and std do not fit.
        """
        name, classes = name or type(module).__name__, class_names(classes)
        require_eval_mode(module)
        unit = normalized(module, name, channels, mean, std)
        check_module(unit, name, classes, (2, channels, size, size), device_of(unit))
        return cls(
            name=name,
            fingerprint=module_fingerprint(name, unit),
            classes=classes,
            size=size,
            channels=channels,
            batch_size=batch_size,
            unit=unit,
        )

    @property
    def format(self) -> ImageFormat:
        """The format in which images are decoded for the model."""
        return format_of(self, self.classifier, self.crop)

    @property
    def engine(self) -> str:
        """What computes the answers: ``torch`` or ``onnx``."""
        return "onnx" if self.onnx else "torch"

    @property
    def view(self) -> PlainView:
        """The part of a stored image that the model sees."""
        return PlainView(self.size, self.classifier.crop if self.classifier else self.crop)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights; images are moved there."""
        return device_of(self.unit) if self.classifier is None else self.classifier.device

    def predict(self, images: ImageInput) -> list[str]:
        """Predicts the class of each image.

        Files, PIL images and arrays go through the same preprocessing as in ``noisystudent.predict``: the short edge is
        resized, and the center is taken. They are decoded 1024 at a time, so memory does not grow with their number.

        Args:
            images: a source (a folder, ``digits:test`` and so on; see ``docs/sources.md``), one image file, one PIL
                image, a list of PIL images, image files or arrays, a NumPy array (uint8 [H, W], [H, W, C], [N, H, W] or
                [N, H, W, C]), a torch tensor (uint8, or floats from 0 to 1; [C, H, W] or [N, C, H, W]), or decoded
                ``Images``.

        Returns:
            N names of classes, in the order of the images; of a folder, in the order of the sorted paths.

        Raises:
            DataError: an image cannot be read, or the images are of an unknown kind.
            ModelError: the model's answers are no numbers, or it was put into training mode.
        """
        return [self.classes[index] for index in self.log_probabilities(images).argmax(axis=1)]

    def predict_proba(self, images: ImageInput, *, calibrated: bool = False) -> Floats:
        """Computes the probability of each class, float32 [N, K]; arguments are those of ``log_probabilities``."""
        return np.exp(self.log_probabilities(images, calibrated=calibrated))

    def log_probabilities(self, images: ImageInput, *, calibrated: bool = False) -> Floats:
        """Computes the log of the softmax, float32 [N, K].

        Args:
            images: as in ``predict``.
            calibrated: at the temperature of the checkpoint (``calibration``), so that confidences match accuracies.

        Raises:
            ModelError: as ``predict`` does; or the checkpoint has no temperature that can be used.
        """
        calibration = usable_calibration(self.calibration, self.name) if calibrated else None

        def predict_shard(shard: Images) -> Floats:
            values = log_probabilities(self, shard, batch_size=self.batch_size, precision=self.precision)
            return calibration.apply(values) if calibration else values

        return stack_rows(list(map_decoded(images, self.format, predict_shard)), len(self.classes))

    def features(self, images: ImageInput) -> Floats:
        """Computes the features before the last layer, float32 [N, F]; arguments are those of ``predict``.

        Raises ``ModelError`` for a network without timm's ``forward_features`` and ``forward_head``.
        """
        net, prepare = self._network()
        require_features(net, self.name)
        width = width_of_features(net)  # for no images

        def features_of_shard(shard: Images) -> Floats:
            rows = []
            for pixels, sizes in on_device(shard, self.batch_size, self.device):
                with torch.inference_mode(), autocast(self.device, self.precision):
                    views = prepare(self.view(pixels, sizes))
                    values = self.onnx.features(views) if self.onnx else features_of(net, views, self.name)
                rows.append(values.float().cpu().numpy())
            return require_numbers(stack_rows(rows, width), self.name, shard.keys)

        return stack_rows(list(map_decoded(images, self.format, features_of_shard)), width)

    def log_probabilities_of_views(self, views: Tensor) -> Floats:
        """Computes the log of the softmax of views as they are, uint8 [N, C, size, size]: float32 [N, K]."""
        self._require_eval_mode()
        rows = []
        for first in range(0, len(views), self.batch_size):
            with torch.inference_mode(), autocast(self.device, self.precision):
                logits = self._logits(views[first : first + self.batch_size].to(self.device))
            rows.append(torch.log_softmax(logits.float(), dim=-1).cpu().numpy())
        return require_numbers(stack_rows(rows, len(self.classes)), self.name)

    def __call__(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """Computes the logits of stored images, as teachers do in training; for files and arrays use ``predict``.

        Args:
            pixels: canvases, uint8 [B, C, H, W], each image at the top left.
            sizes: height and width of each image on its canvas, [B, 2].

        Returns:
            Logits, float32 [B, K], on the device of ``pixels``; they may enter a student's loss.
        """
        require_channels(self, pixels)
        self._require_eval_mode()
        with torch.inference_mode():
            logits = self._logits(self.view(pixels.to(self.device), sizes))
        # An inference tensor may not enter a student's loss; a copy made outside of inference mode may.
        return logits.to(pixels.device, torch.float32, copy=True)

    def __repr__(self) -> str:
        shape = f"{self.channels} x {self.size} x {self.size}"
        return f"Predictor({self.name!r}, {len(self.classes)} classes, {shape} pixels, {self.precision}, {self.device})"

    def _repr_html_(self) -> str:
        """The predictor as a notebook shows it: its model, images, classes and calibration."""
        more = f", ... ({len(self.classes):,})" if len(self.classes) > CLASSES_NAMED else ""
        fitted = self.calibration
        rows = [
            ("model", self.name if self.classifier is None else f"{self.name}: {self.classifier.name}"),
            ("images", f"{self.channels} x {self.size} x {self.size} pixels"),
            ("classes", ", ".join(self.classes[:CLASSES_NAMED]) + more),
            ("computes", f"{self.precision} on {self.device}, by {self.engine}"),
            ("temperature", f"{fitted.temperature:.3g}, of {fitted.labels} {fitted.fitted_on}" if fitted else "none"),
        ]
        return table_html(rows)

    def _logits(self, views: Tensor) -> Tensor:
        """Logits [B, K] of views, uint8 [B, C, size, size]."""
        logits: Tensor
        if self.classifier is None:
            logits = self.unit(views.float() / 255)
        else:
            logits = self.onnx.logits(self.classifier.normalize(views)) if self.onnx else self.classifier(views)
        require_logits(logits, self.name, (len(views), len(self.classes)))
        return logits

    def _network(self) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
        """The network itself, and the function from uint8 views to its input."""
        if self.classifier is not None:
            normalize, layout = self.classifier.normalize, self.classifier.memory_format
            return self.classifier.net, lambda views: normalize(views).contiguous(memory_format=layout)
        self._require_eval_mode()
        if isinstance(self.unit, NormalizedModule):
            scale = self.unit.normalize
            return self.unit.module, lambda views: scale(views.float() / 255)
        return self.unit, lambda views: views.float() / 255

    def _require_eval_mode(self) -> None:
        if self.classifier is None:  # a classifier is out of reach of its caller
            require_eval_mode(self.unit)


def require_model(model: object) -> None:
    """Raises ``ModelError`` unless ``model`` names a checkpoint or is a predictor; a module must be wrapped first."""
    if isinstance(model, nn.Module):
        raise ModelError(
            f"a module ({type(model).__name__}) does not say what its outputs mean or which images it takes. Wrap it: "
            "noisystudent.load(module, classes=[...], size=...), and give the predictor that this returns."
        )
    if not isinstance(model, str | Path | Predictor):
        raise ModelError(
            f"{model!r} is no model: give a checkpoint's folder, the folder of a run, timm:NAME, local-dir:FOLDER, or "
            "what noisystudent.load returned."
        )
