"""Answers of a network by onnxruntime on a CPU (the extra ``onnx``), compared with torch's before they are used."""

from __future__ import annotations

import copy
import warnings
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.models.wrapped_module import gives_features

TOLERANCE = 1e-3  # of the largest value of a batch
_PACKAGES = ("onnxruntime", "onnxscript")
_ADVICE = "Leave out runtime.engine, which then is torch."
_TRIED_IMAGES = 4


class OnnxSession(Protocol):
    """What is used of onnxruntime's session."""

    def run(self, names: list[str], inputs: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[np.float32]]:
        """The outputs of these names."""


class OnnxNetwork:
    """The network of a classifier in onnxruntime, with as many threads as torch has.

    It takes normalized pixels float32 [B, C, size, size] with any B, and holds a copy of the weights.

    Args:
        classifier: The classifier, on the CPU, in evaluation mode.

    Raises:
        ModelError: The extra is not installed, the network cannot be translated, or its answers differ from torch's by
            more than a thousandth of the largest: to seeded random pixels here, to the first images later.
    """

    def __init__(self, classifier: Classifier) -> None:
        require_onnx("runtime.engine onnx", "Or leave it out: torch computes the same, slower.")
        self._name = classifier.name
        shape = (_TRIED_IMAGES, classifier.channels, classifier.size, classifier.size)
        pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        network = _WithFeatures(classifier.net) if gives_features(classifier.net) else classifier.net
        self._outputs = ("logits", "features") if isinstance(network, _WithFeatures) else ("logits",)
        self._network = network
        self._session = self._translated(network, pixels)
        self._require_equal(pixels)
        self._saw_images = False

    def logits(self, pixels: Tensor) -> Tensor:
        """Logits [B, K] of normalized pixels."""
        return self._answer("logits", pixels)

    def features(self, pixels: Tensor) -> Tensor:
        """Features [B, F] before the last layer, of normalized pixels, for a network that gives them."""
        return self._answer("features", pixels)

    def _answer(self, name: str, pixels: Tensor) -> Tensor:
        if not self._saw_images:
            self._require_equal(pixels[:_TRIED_IMAGES])
            self._saw_images = True
        return self._run(name, pixels)

    def _require_equal(self, pixels: Tensor) -> None:
        """Raises ``ModelError`` if answers differ from torch's by more than a thousandth of the largest."""
        with torch.inference_mode():
            answers = self._network(pixels)
        for name, expected in zip(self._outputs, answers if isinstance(answers, tuple) else (answers,), strict=True):
            largest = float(expected.abs().max())
            difference = float((self._run(name, pixels) - expected).abs().max())
            if not difference <= TOLERANCE * largest:
                raise ModelError(
                    f"onnxruntime computes other {name} of {self._name} than torch: they differ by {difference:.2g}, "
                    f"where the largest is {largest:.2g} and a difference of {TOLERANCE:g} times that is allowed. "
                    f"{_ADVICE}"
                )

    def _run(self, name: str, pixels: Tensor) -> Tensor:
        values = self._session.run([name], {"pixels": pixels.contiguous().numpy()})
        return torch.from_numpy(values[0])

    def _translated(self, network: nn.Module, pixels: Tensor) -> OnnxSession:
        try:
            return open_session(to_onnx(network, pixels, self._outputs))
        except Exception as error:  # the exporter and onnxruntime fail in any way
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelError(
                f"onnxruntime cannot compute {self._name} ({type(error).__name__}: {reason[0][:300]}). {_ADVICE}"
            ) from error


class _WithFeatures(nn.Module):
    """A timm network that gives its logits and its features."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, K] and features [B, F] of normalized pixels."""
        maps = self.net.forward_features(pixels)  # type: ignore[operator]  # timm's networks have both
        return self.net.forward_head(maps), self.net.forward_head(maps, pre_logits=True)  # type: ignore[operator]


def require_onnx(what: str, advice: str) -> None:
    """Raises ``ModelError`` if the packages that ``what`` needs are missing."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ModelError(f"{what} needs {' and '.join(missing)}: pip install 'noisystudent[onnx]'. {advice}")


def open_session(model: bytes) -> OnnxSession:
    """A model in ONNX, opened in onnxruntime on the CPU with as many threads as torch has; raises its errors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as OpenMP's threads: see runtime.env
    options.log_severity_level = 3  # errors
    session: OnnxSession = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session


def to_onnx(network: nn.Module, pixels: Tensor, outputs: tuple[str, ...]) -> bytes:
    """A network in ONNX, from ``pixels`` of any batch size to ``outputs``; raises the exporter's errors."""
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            plain,
            (pixels,),
            dynamo=True,
            verbose=False,
            input_names=["pixels"],
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
