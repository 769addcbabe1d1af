"""The exponential moving average of the weights: the model that is evaluated, saved and used as a teacher."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from noisystudent.models.classifier import Classifier
from noisystudent.runtime.sharded_state import full_tensor, local_shard, shard


class Ema:
    """The exponential moving average of a classifier's weights and batch normalization statistics.

    Step ``n`` (from 0) moves the average by ``1 - min(decay, (1 + n) / (10 + n))`` of the way to the trained
    values (official code: TensorFlow's warm-up, over trainable variables and moving statistics). Integer
    buffers are copied. With ``decay`` 0 the average is a copy of the trained values.

    Create it when the trained classifier is on its device, because it keeps references to the classifier's tensors.
    """

    def __init__(self, classifier: Classifier, decay: float) -> None:
        assert 0 <= decay < 1
        self.decay = decay
        self.classifier = copy.deepcopy(classifier).eval().requires_grad_(False)
        self._follow(classifier)

    def shard(self, mesh: DeviceMesh, classifier: Classifier) -> None:
        """Shards the average's parameters over the processes as those of ``classifier``, and follows its shards."""
        _replace_parameters(self.classifier, lambda parameter: shard(parameter, mesh))
        self.classifier.to(classifier.device)
        self._follow(classifier)

    def whole(self) -> Classifier:
        """Returns the average as a classifier that is not sharded; all processes must call it at once.

        If the average is sharded, the classifier is a copy.
        """
        if not any(isinstance(parameter, DTensor) for parameter in self.classifier.parameters()):
            return self.classifier
        classifier = copy.deepcopy(self.classifier)
        _replace_parameters(classifier, full_tensor)
        return classifier

    def _follow(self, classifier: Classifier) -> None:
        pairs = list(zip(_tensors(self.classifier), _tensors(classifier), strict=True))
        self._averages = [average for average, _ in pairs if average.is_floating_point()]
        self._followed = [value for _, value in pairs if value.is_floating_point()]
        self._copies = [average for average, _ in pairs if not average.is_floating_point()]
        self._copied = [value for _, value in pairs if not value.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Moves the average towards the trained classifier; ``step`` is the number of earlier updates."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, followed = map(local_shard, self._averages), map(local_shard, self._followed)
        torch._foreach_lerp_(list(averages), list(followed), 1 - decay)
        if self._copies:
            torch._foreach_copy_(self._copies, self._copied)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the average's tensors under the names of the classifier."""
        return self.classifier.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Loads a saved average; names and shapes must be those of the classifier."""
        self.classifier.load_state_dict(state)


def _replace_parameters(classifier: Classifier, function: Callable[[Tensor], Tensor]) -> None:
    for module in classifier.modules():
        for name, parameter in tuple(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(function(parameter.detach()), requires_grad=False))


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()
