"""Several teachers that answer as one: the weighted mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from noisystudent.data.images import ImageFormat
from noisystudent.models.teacher import TeacherModel


class MeanTeacher:
    """The weighted arithmetic mean of the softmax of several teachers, each with its own view of an image.

    Args:
        members: The teachers, of the same classes and channels.
        weights: Their weights, at least 0, which sum to 1.
    """

    def __init__(self, members: Sequence[TeacherModel], weights: Sequence[float]) -> None:
        assert len(members) == len(weights)
        self.members, self.weights = tuple(members), tuple(weights)

    def __call__(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """Log-probabilities float32 [B, K], whose softmax is the mean, of canvases [B, C, H, W]."""
        logs = [
            torch.log_softmax(member(pixels, sizes).float(), dim=1) + torch.tensor(weight, device=self.device).log()
            for member, weight in zip(self.members, self.weights, strict=True)
        ]
        return torch.stack(logs).logsumexp(dim=0)

    @property
    def name(self) -> str:
        """The architectures."""
        return f"the mean of {', '.join(dict.fromkeys(member.name for member in self.members))}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.members[0].classes

    @property
    def size(self) -> int:
        """Edge in pixels of the largest view that a member takes."""
        return max(member.size for member in self.members)

    @property
    def channels(self) -> int:
        """Channels of the images: 1 or 3."""
        return self.members[0].channels

    @property
    def format(self) -> ImageFormat:
        """The format in which images are decoded for the member with the largest view."""
        return max(self.members, key=lambda member: member.size).format

    @property
    def device(self) -> torch.device:
        """The device of the first member."""
        return self.members[0].device
