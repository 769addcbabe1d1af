"""Exports of a classifier to other runtimes; each is compared with torch before it is called good."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import timm
import torch
from torch import Tensor, nn

from noisystudent.errors import ModelError
from noisystudent.models.checkpoint import CONFIG, WEIGHTS, config_of, save_classifier
from noisystudent.models.classifier import Classifier
from noisystudent.models.onnx_engine import TOLERANCE, open_session, require_onnx, to_onnx

ExportFormat = Literal["timm", "onnx", "torch-export"]
FORMATS: tuple[ExportFormat, ...] = ("timm", "onnx", "torch-export")
MODEL_FILES: dict[ExportFormat, str] = {"timm": WEIGHTS, "onnx": "model.onnx", "torch-export": "model.pt2"}
BATCH_SIZES = (1, 3)  # at which answers are compared with torch
_EXAMPLE_IMAGES = 2  # that a network is traced with

Answer = Callable[[Tensor], Tensor]


def export_classifier(classifier: Classifier, to: ExportFormat, folder: Path, *, preprocessing: bool) -> None:
    """Writes a classifier for another runtime into an empty folder, and compares its logits with torch's.

    Args:
        classifier: The classifier, on the CPU, in evaluation mode.
        to: ``timm``: a folder in the layout of timm's hub; ``onnx``: an ONNX graph; ``torch-export``: what
            ``torch.export.load`` reads.
        folder: The folder; it gets the model and ``config.json``, with class names and preprocessing.
        preprocessing: Whether a graph takes uint8 pixels [B, C, size, size] and normalizes them itself, instead of
            normalized float32.

    Raises:
        ModelError: The network cannot be exported, or the export answers otherwise than torch by more than a thousandth
            of the largest logit, at a batch of one image or of three.
    """
    if to == "timm":
        answer = _to_timm(classifier, folder)
        _require_equal(classifier, answer, to, preprocessing=False)
        return
    network = _Graph(classifier) if preprocessing else copy.deepcopy(classifier.net)
    network.eval().to(memory_format=torch.contiguous_format)
    path = folder / MODEL_FILES[to]
    try:
        answer = _write(network, _pixels(classifier, _EXAMPLE_IMAGES, preprocessing=preprocessing), to, path)
    except Exception as error:  # the exporters fail in any way
        reason = str(error).strip().splitlines() or [""]
        raise ModelError(
            f"{classifier.name} cannot be exported to {to} ({type(error).__name__}: {reason[0][:300]}). Nothing was "
            "written; export it to timm, or train another architecture."
        ) from error
    text = json.dumps(config_of(classifier), indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    _require_equal(classifier, answer, to, preprocessing=preprocessing)


def require_exportable(classifier: Classifier, to: ExportFormat, *, preprocessing: bool) -> None:
    """Raises ``ModelError`` for a classifier that a format cannot hold, or where the exporter is missing."""
    if to == "timm" and not timm.is_model(classifier.name.partition(".")[0]):
        raise ModelError(
            f"{classifier.name} is a network of your own, which timm does not know. Export it to onnx or torch-export."
        )
    if to == "timm" and preprocessing:
        raise ModelError(
            "a timm folder holds a network, not a graph, so preprocessing cannot be a part of it: config.json says how "
            "to normalize. Leave out the preprocessing, or export to onnx or torch-export."
        )
    if to == "onnx":
        require_onnx("an export to onnx", "Or export to timm or torch-export.")


class _Graph(nn.Module):
    """A copy of a classifier's network behind its normalization: logits of uint8 pixels."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.normalize = copy.deepcopy(classifier.normalize)
        self.net = copy.deepcopy(classifier.net)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [B, K] of pixels uint8 [B, C, size, size]."""
        logits: Tensor = self.net(self.normalize(pixels))
        return logits


def _to_timm(classifier: Classifier, folder: Path) -> Answer:
    """Writes a folder in timm's hub layout, and opens it again with timm."""
    save_classifier(classifier, folder)
    network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    def answer(pixels: Tensor) -> Tensor:
        logits: Tensor = network(pixels)
        return logits

    return answer


def _write(network: nn.Module, pixels: Tensor, to: ExportFormat, path: Path) -> Answer:
    """Writes a graph; returns what answers by the written file."""
    if to == "onnx":
        content = to_onnx(network, pixels, ("logits",))
        path.write_bytes(content)
        session = open_session(content)
        return lambda given: torch.from_numpy(session.run(["logits"], {"pixels": given.numpy()})[0])
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.export.export(network, (pixels,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        torch.export.save(program, path)
        opened = torch.export.load(path).module()

    def answer(given: Tensor) -> Tensor:
        logits: Tensor = opened(given)
        return logits

    return answer


def _pixels(classifier: Classifier, images: int, *, preprocessing: bool) -> Tensor:
    """Seeded random pixels as an export takes them."""
    shape = (images, classifier.channels, classifier.size, classifier.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return pixels if preprocessing else classifier.normalize(pixels)


def _require_equal(classifier: Classifier, answer: Answer, to: ExportFormat, *, preprocessing: bool) -> None:
    """Raises ``ModelError`` if logits differ from torch's at any of ``BATCH_SIZES``."""
    for images in BATCH_SIZES:
        with torch.inference_mode():
            found = answer(_pixels(classifier, images, preprocessing=preprocessing).clone())
            expected = classifier(_pixels(classifier, images, preprocessing=True))
        largest, difference = float(expected.abs().max()), float((found - expected).abs().max())
        if not difference <= TOLERANCE * largest:
            raise ModelError(
                f"the export of {classifier.name} to {to} answers otherwise than torch: logits of {images} images "
                f"differ by {difference:.2g}, where the largest is {largest:.2g} and a difference of {TOLERANCE:g} "
                "times that is allowed. Nothing was written; please report it."
            )
