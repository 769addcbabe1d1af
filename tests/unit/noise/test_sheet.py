"""Contact sheets: their cells, their layout, and the command that writes them."""

import numpy as np
import pytest
import torch
from PIL import Image

import noisystudent
from data_images import ListSource
from noisystudent.commands.main import main
from noisystudent.data.images import ImageFormat, decode_shard, decode_source
from noisystudent.data.sample import SpreadSource
from noisystudent.data.sources.builtin import open_digits
from noisystudent.errors import SettingsError
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.policies import POLICIES
from noisystudent.noise.settings import NoiseSettings
from noisystudent.noise.sheet import draws_sheet, operations_sheet, strengths_sheet
from noisystudent.reporting.sheet import GAP, HEADER, MIN_CELL, draw_sheet

SIZE = 8
FORMAT = ImageFormat(SIZE, 1)


@pytest.fixture(scope="module")
def digits():
    return decode_source(SpreadSource(open_digits(labeled=True), 5), FORMAT, max_corrupt_fraction=0, memory_limit_gb=1)


def test_every_image_is_shown_squashed_where_all_of_it_is_seen():
    wide = np.zeros((40, 60, 3), np.uint8)
    wide[:, 54:] = 255  # a center crop loses this border
    images = decode_shard(ListSource([wide]), 0, ImageFormat(96, 3, squash=True, crop=1.0))
    format = ImageFormat(96, 3, squash=True, crop=1.0)
    sheet = strengths_sheet(images, NoiseSettings(strengths=(0.0,)), format=format, rng=CounterRng(0, "test"))
    assert sheet.cells.shape == (1, 2, 96, 96, 3)
    assert (sheet.cells[0, :, :, -3:] > 250).all()


def test_columns_are_the_plain_view_and_every_strength(digits):
    settings = NoiseSettings(strengths=(0.0, 1.0), crop="none")
    sheet = strengths_sheet(digits, settings, format=FORMAT, rng=CounterRng(0, "test"))
    assert sheet.columns == ("plain", "strength 0", "strength 1")
    assert sheet.cells.shape == (5, 3, SIZE, SIZE, 1)
    np.testing.assert_array_equal(sheet.cells[:, 0, :, :, 0], digits.pixels[:, 0])
    np.testing.assert_array_equal(sheet.cells[:, 0], sheet.cells[:, 1])
    assert not np.array_equal(sheet.cells[:, 0], sheet.cells[:, 2])


def test_every_operation_has_a_column(digits):
    sheet = operations_sheet(
        digits, NoiseSettings(policy="paper"), format=FORMAT, strength=1.0, rng=CounterRng(0, "test")
    )
    assert sheet.columns == ("plain", *POLICIES["paper"].operations)
    inverted = sheet.columns.index("Invert")
    np.testing.assert_array_equal(sheet.cells[:, inverted], 255 - sheet.cells[:, 0])


def test_the_sheet_of_a_run_shows_the_views_of_training(digits):
    noise = InputNoise(NoiseSettings(), size=SIZE, strength=1.0, rng=CounterRng(0, "test"))
    rows = np.array([4, 9, 1, 0, 7])
    sheet = draws_sheet(digits, noise, rows, 3)
    pixels, sizes = torch.from_numpy(digits.pixels), torch.full((5, 2), SIZE)
    views = noise(pixels, sizes, torch.full((5,), 2), torch.from_numpy(rows))
    np.testing.assert_array_equal(sheet.cells[:, 3, :, :, 0], views[:, 0].numpy())


@pytest.mark.parametrize("channels", [1, 3])
def test_cells_are_enlarged_at_their_positions(channels):
    cells = np.random.default_rng(0).integers(0, 256, (2, 3, 10, 10, channels), dtype=np.uint8)
    drawn = np.asarray(draw_sheet(("a", "b", "c"), cells))
    factor = -(-MIN_CELL // 10)
    edge = 10 * factor
    assert drawn.shape == (HEADER + 2 * (edge + GAP), GAP + 3 * (edge + GAP), 3)
    top, left = HEADER + edge + GAP, GAP + 2 * (edge + GAP)
    cell = drawn[top : top + edge : factor, left : left + edge : factor]
    np.testing.assert_array_equal(cell, np.broadcast_to(cells[1, 2], (10, 10, 3)))
    assert (drawn[:, :GAP] == 255).all()


@pytest.mark.parametrize("by", ["strengths", "operations"])
def test_the_command_writes_a_png(tmp_path, capsys, by):
    out = tmp_path / "sheets" / "noise.png"
    assert main(["show-noise", "digits", "--by", by, "--out", str(out), "--images", "3", "--noise.policy=timm"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert image.height == HEADER + 3 * (MIN_CELL + GAP)


def test_no_images_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="--images is 0"):
        noisystudent.show_noise(source="digits", out=tmp_path / "x.png", images=0)


@pytest.mark.parametrize(
    ("by", "settings"),
    [
        ("operations", {"noise.strengths": [0.5]}),
        ("operations", {"noise.flip": True}),
        ("strengths", {"noise.strength": 0.5}),
    ],
)
def test_a_setting_that_the_columns_do_not_show_is_refused(by, settings, tmp_path):
    with pytest.raises(SettingsError, match=f"--by {by} does not show {next(iter(settings))}"):
        noisystudent.show_noise(source="digits", out=tmp_path / "x.png", by=by, settings=settings)
