"""One color per thing, which people who are color-blind tell apart, on both grounds."""

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

# Machado, Oliveira and Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# severity 1.0, for linear RGB.
DEFICIENCIES = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
LEAST_DIFFERENCE = 20  # CIE 1976; 2.3 is the smallest that people see side by side


def palettes() -> dict[str, dict[str, str]]:
    text = files("noisystudent.reporting").joinpath("palette.css").read_text()
    light, _, dark = text.partition("@media")
    found = {"light": dict(re.findall(r"--([\w-]+): (#\w+)", light))}
    found["dark"] = found["light"] | dict(re.findall(r"--([\w-]+): (#\w+)", dark))
    return found


def linear(color: str) -> np.ndarray:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    values = np.array([int(digits[start : start + 2], 16) for start in (0, 2, 4)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2])])


def contrast(one: str, other: str) -> float:
    bright, dark = sorted(float(np.array([0.2126, 0.7152, 0.0722]) @ linear(color)) for color in (one, other))[::-1]
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", DEFICIENCIES)
def test_all_series_are_told_apart(theme, vision):
    palette, seen = palettes()[theme], np.array(DEFICIENCIES[vision])
    places = {number: lab(seen @ linear(palette[f"series-{number}"])) for number in range(1, 9)}
    near = {
        pair: round(float(np.linalg.norm(places[pair[0]] - places[pair[1]])), 1) for pair in combinations(places, 2)
    }
    assert min(near.values()) >= LEAST_DIFFERENCE, near


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_have_the_contrast_that_text_needs(theme):
    palette = palettes()[theme]
    for name in ("ink", "soft", "accent", "good", "bad", "unsure", "student-text", "control-text"):
        for ground in ("ground", "panel"):
            assert contrast(palette[name], palette[ground]) >= 4.5, (name, ground)  # WCAG 2.1, 1.4.3


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_have_the_contrast_that_graphics_need(theme):
    palette = palettes()[theme]
    assert all(contrast(palette[f"series-{number}"], palette["ground"]) >= 3 for number in range(1, 9))  # WCAG 1.4.11
