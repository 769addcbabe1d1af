"""Averaged weights: the model that is evaluated, saved and teaches."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from noisystudent.models.classifier import Classifier


class Ema:
    """Exponential moving average of a classifier's weights and of its batch normalization statistics.

    Step ``n`` (from 0) moves the average by ``1 - min(decay, (1 + n) / (10 + n))`` of the way to the trained
    values (official code: TensorFlow's warm-up, over trainable variables and moving statistics). Integer
    buffers are copied. ``decay`` 0 keeps a plain copy.

    Make it once the trained classifier is on its device: it remembers the tensors that it follows.
    """

    def __init__(self, classifier: Classifier, decay: float) -> None:
        assert 0 <= decay < 1
        self.decay = decay
        self.classifier = copy.deepcopy(classifier).eval().requires_grad_(False)
        pairs = list(zip(_tensors(self.classifier), _tensors(classifier), strict=True))
        self._averages = [average for average, _ in pairs if average.is_floating_point()]
        self._followed = [value for _, value in pairs if value.is_floating_point()]
        self._copies = [average for average, _ in pairs if not average.is_floating_point()]
        self._copied = [value for _, value in pairs if not value.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the trained classifier; ``step`` counts the updates before this one."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._followed, 1 - decay)
        if self._copies:
            torch._foreach_copy_(self._copies, self._copied)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, under the classifier's own names."""
        return self.classifier.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes a saved average; names and shapes must be the classifier's own."""
        self.classifier.load_state_dict(state)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
