"""Averaged weights: the model that is evaluated, saved and teaches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from noisystudent.models.classifier import Classifier
from noisystudent.runtime.sharded_state import share, split, whole


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
        self._follow(classifier)

    def split(self, mesh: DeviceMesh, classifier: Classifier) -> None:
        """Splits the average's parameters among processes, as ``classifier``'s have been; it follows their shares."""
        _replace_parameters(self.classifier, lambda parameter: split(parameter, mesh))
        self.classifier.to(classifier.device)
        self._follow(classifier)

    def whole(self) -> Classifier:
        """The average as an ordinary classifier: a copy where it is split, for which all processes must ask at once."""
        if not any(isinstance(parameter, DTensor) for parameter in self.classifier.parameters()):
            return self.classifier
        classifier = copy.deepcopy(self.classifier)
        _replace_parameters(classifier, whole)
        return classifier

    def _follow(self, classifier: Classifier) -> None:
        pairs = list(zip(_tensors(self.classifier), _tensors(classifier), strict=True))
        self._averages = [average for average, _ in pairs if average.is_floating_point()]
        self._followed = [value for _, value in pairs if value.is_floating_point()]
        self._copies = [average for average, _ in pairs if not average.is_floating_point()]
        self._copied = [value for _, value in pairs if not value.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the trained classifier; ``step`` counts the updates before this one."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            [share(each) for each in self._averages], [share(each) for each in self._followed], 1 - decay
        )
        if self._copies:
            torch._foreach_copy_(self._copies, self._copied)

    def state_dict(self) -> dict[str, Tensor]:
        """The average, under the classifier's own names."""
        return self.classifier.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes a saved average; names and shapes must be the classifier's own."""
        self.classifier.load_state_dict(state)


def _replace_parameters(classifier: Classifier, function: Callable[[Tensor], Tensor]) -> None:
    for module in classifier.modules():
        for name, parameter in tuple(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(function(parameter.detach()), requires_grad=False))


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
