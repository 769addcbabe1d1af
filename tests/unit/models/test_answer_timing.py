"""How long models take for an image: by a clock that the models themselves move on."""

from dataclasses import dataclass, field

import pytest
import torch

from noisystudent.models import answer_timing
from noisystudent.models.answer_timing import IMAGES, milliseconds_per_image
from noisystudent.models.classifier import create_classifier
from noisystudent.models.teacher import Teacher

CPU = torch.device("cpu")


@dataclass
class Timed:
    """A model whose passes take so many seconds, one after the other."""

    clock: list[float]
    seconds: list[float]
    size: int
    channels: int = 3
    device: torch.device = CPU
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, pixels, sizes):
        self.shapes.append(tuple(pixels.shape))
        assert sizes.tolist() == [[self.size, self.size]] * IMAGES
        self.clock[0] += self.seconds[len(self.shapes) - 1]
        return pixels


def test_the_fastest_pass_counts_and_the_first_does_not(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(answer_timing.time, "perf_counter", lambda: clock[0])
    slow = Timed(clock, [0.1, 3.2, 1.6, 3.2, 6.4, 3.2], size=24)
    fast = Timed(clock, [9.0, 0.32, 0.64, 0.64, 0.64, 0.64], size=16, channels=1)
    assert milliseconds_per_image([slow, fast], "float32") == pytest.approx([50.0, 10.0])
    assert set(slow.shapes) == {(IMAGES, 3, 24, 24)}
    assert set(fast.shapes) == {(IMAGES, 1, 16, 16)}


def test_a_teacher_is_timed_as_it_answers():
    models = [Teacher(create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=size)) for size in (8, 32)]
    small, large = milliseconds_per_image(models, "float32")
    assert 0 < small < large
