"""The views of the second version of the fix: shifted along the width, flipped, hardly changed in color."""

import torch

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import PlainView
from noisystudent.noise.fix_views import ShiftedView


def views_of(pixels, size=64, epochs=40):
    view = ShiftedView(size, None, CounterRng(0, "test"))
    sizes = torch.tensor([pixels.shape[2:]]).expand(epochs, 2)
    return view(pixels.expand(epochs, -1, -1, -1), sizes, torch.arange(epochs), torch.zeros(epochs, dtype=torch.int64))


def test_it_moves_along_the_width_alone_and_reaches_both_borders():
    columns = torch.arange(96).expand(1, 3, 64, 96).to(torch.uint8) + 80
    found = views_of(columns, epochs=400).float()
    assert torch.equal(found, found[:, :, :1].expand_as(found))  # no row differs from another
    left = found[:, 0, 0, [0, -1]].amin(1) - 80
    assert left.min() <= 5  # of 0 to 32, but for the colors
    assert left.max() >= 25
    flipped = found[:, 0, 0, 0] > found[:, 0, 0, -1]
    assert 0.4 < flipped.float().mean() < 0.6


def test_colors_change_by_five_percent_at_most():
    gray = torch.full((1, 1, 64, 64), 200, dtype=torch.uint8)
    found = views_of(gray, epochs=400)
    assert 190 <= found.min() <= 192
    assert 208 <= found.max() <= 210


def test_a_square_image_keeps_its_view_but_for_flip_and_color():
    image = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    plain = PlainView(64)(image, torch.tensor([[64, 64]])).float()
    for found in views_of(image, epochs=10).float():
        difference = min(float((found - given).abs().mean()) for given in (plain[0], plain[0].flip(2)))
        assert difference < 0.1 * 128


def test_equal_positions_give_equal_views():
    image = torch.randint(0, 256, (1, 1, 64, 80), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(views_of(image), views_of(image))
