"""The time of a model per image."""

import time

import pytest
import torch

from noisystudent.models.speed import AT_ONCE, milliseconds_per_image


class Slow:
    """A model that takes 8 ms for a pass, and the first time much longer."""

    channels, size, device = 3, 5, torch.device("cpu")

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, pixels: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
        time.sleep(0.008 if self.shapes else 0.2)
        self.shapes.append((*pixels.shape, *sizes.shape))
        return torch.zeros(len(pixels), 2)


def test_a_pass_of_8_ms_takes_a_quarter_of_a_millisecond_per_image():
    model = Slow()
    assert milliseconds_per_image(model) == pytest.approx(8 / AT_ONCE, rel=0.5)
    assert set(model.shapes) == {(AT_ONCE, 3, 5, 5, AT_ONCE, 2)}
