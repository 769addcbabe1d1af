"""The part of an export's card that shows how to run it, without this package."""

from __future__ import annotations

from noisystudent.data.images import ImageFormat
from noisystudent.models.calibration import Calibration
from noisystudent.models.card import usage
from noisystudent.models.classifier import Classifier
from noisystudent.models.export import MODEL_FILES, ExportFormat


def export_usage(
    classifier: Classifier, to: ExportFormat, *, preprocessing: bool, calibration: Calibration | None
) -> str:
    """How an export is run; the code takes image files as arguments and prints a class and a probability for each.

    Args:
        classifier: The classifier that was exported.
        to: The format.
        preprocessing: Whether the graph normalizes.
        calibration: The temperature of the classifier, if there is one to be used.
    """
    if to == "timm":
        return usage(classifier)
    needs = "onnxruntime, NumPy and Pillow" if to == "onnx" else "torch, NumPy and Pillow"
    takes = (
        f"uint8 pixels [N, {classifier.channels}, {classifier.size}, {classifier.size}], which the graph normalizes"
        if preprocessing
        else f"normalized float32 [N, {classifier.channels}, {classifier.size}, {classifier.size}]"
    )
    runtime = "onnxruntime" if to == "onnx" else "torch"
    code = "\n".join(
        [
            "import json\nimport sys\n\nimport numpy as np",
            *([f"import {runtime}\nfrom PIL import Image, ImageOps"] if to == "onnx" else []),
            *(["import torch\nfrom PIL import Image, ImageOps"] if to != "onnx" else []),
            f"\n\n{_pixels_function(classifier)}\n\n",
            'classes = json.load(open("config.json", encoding="utf-8"))["label_names"]',
            f"pixels = np.stack([pixels_of(file) for file in sys.argv[1:]]){_to_channels_first(classifier)}",
            *([] if preprocessing else [_normalize(classifier)]),
            *(_run_onnx() if to == "onnx" else _run_torch()),
            *_probabilities(calibration),
            "for file, row in zip(sys.argv[1:], probabilities):",
            '    print(file, classes[row.argmax()], f"{row.max():.4f}")',
        ]
    )
    return f"`{MODEL_FILES[to]}` takes {takes}, and gives logits [N, K]. With {needs}:\n\n```python\n{code}\n```\n"


def _pixels_function(classifier: Classifier) -> str:
    size, mode = classifier.size, "L" if classifier.channels == 1 else "RGB"
    edge = ImageFormat(size, 3, crop=classifier.crop, squash=classifier.squash).storage_size
    if classifier.squash:
        view = [
            f"    image = image.resize(({edge}, {edge}), Image.Resampling.BICUBIC)",
            f"    return np.asarray(image.resize(({size}, {size}), Image.Resampling.BICUBIC))",
        ]
    else:
        view = [
            f"    edges = [max({edge}, round(length * {edge} / min(image.size))) for length in image.size]",
            "    image = image.resize(edges, Image.Resampling.BICUBIC)",
            f"    left, top = ((length - {size}) // 2 for length in edges)",
            f"    return np.asarray(image.crop((left, top, left + {size}, top + {size})))",
        ]
    lines = [
        "def pixels_of(file):",
        f'    image = ImageOps.exif_transpose(Image.open(file)).convert("{mode}")',
        *view,
    ]
    return "\n".join(lines)


def _to_channels_first(classifier: Classifier) -> str:
    return "[:, None]" if classifier.channels == 1 else ".transpose(0, 3, 1, 2).copy()"


def _normalize(classifier: Classifier) -> str:
    mean, std = list(classifier.normalization.mean), list(classifier.normalization.std)
    axes = "[:, None, None]"
    return f"pixels = ((pixels / 255 - np.array({mean}){axes}) / np.array({std}){axes}).astype(np.float32)"


def _run_onnx() -> list[str]:
    return [
        'session = onnxruntime.InferenceSession("model.onnx")',
        '(logits,) = session.run(["logits"], {"pixels": pixels})',
    ]


def _run_torch() -> list[str]:
    return [
        'model = torch.export.load("model.pt2").module()',
        "with torch.inference_mode():",
        "    logits = model(torch.from_numpy(pixels)).numpy()",
    ]


def _probabilities(calibration: Calibration | None) -> list[str]:
    scale = []
    if calibration:
        fitted = f"fitted on {calibration.labels} {calibration.fitted_on}"
        scale = [f"logits = logits / {calibration.temperature:.6g}  # the temperature, {fitted}"]
    return [
        *scale,
        "probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))",
        "probabilities /= probabilities.sum(axis=1, keepdims=True)",
    ]
