"""A classifier of feature vectors: a small network of linear layers, which the training loop trains like any other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from noisystudent.models.classifier import Classifier
from noisystudent.models.normalization import Normalization
from noisystudent.random_streams import stream_key
from noisystudent.runtime.device import ON_CPU, seeded


class FeatureClassifier(Classifier):
    """A network for standardized feature vectors: logits [B, K] of float32 [B, F].

    Args:
        features: The number of features F.
        hidden: The widths of the hidden layers, each with ReLU and dropout; none: a linear classifier.
        classes: The class names.
        dropout: The rate of dropout in training, 0 to below 1.
        seed: The seed of the first weights.
    """

    def __init__(
        self, features: int, hidden: Sequence[int], classes: tuple[str, ...], *, dropout: float, seed: int
    ) -> None:
        with seeded(stream_key(seed, "weights"), ON_CPU.device):
            net = _layers([features, *hidden], len(classes), dropout)
        super().__init__(
            net, name="features", classes=classes, channels=1, size=1, normalization=Normalization.halves(1)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits [B, K] of standardized features, float32 [B, F]."""
        logits: Tensor = self.net(pixels)
        return logits

    def log_probabilities(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The log of the softmax, float64 [N, K], of standardized features [N, F]; a row depends on no other row.

        It is computed in float64, where the order of sums that the number of rows decides does not matter.
        """
        values = features
        for layer in self.net.children():
            if isinstance(layer, nn.Linear):
                weight, bias = (part.detach().double().numpy() for part in (layer.weight, layer.bias))
                values = values @ weight.T + bias
            elif isinstance(layer, nn.ReLU):
                values = np.maximum(values, 0.0)
        return torch.log_softmax(torch.from_numpy(values), dim=1).numpy()


def _layers(widths: Sequence[int], classes: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))
