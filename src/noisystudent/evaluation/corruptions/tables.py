"""Names and published strengths of corruptions and perturbations (Hendrycks and Dietterich 2019), by image size.

The authors published four sets of numbers, for images of 32 px (CIFAR-10-C), 64 px (ImageNet-64x64-C and, with the
same numbers, Tiny ImageNet-C), 224 px (ImageNet-C) and 299 px (ImageNet-C for Inception). A table repeats numbers that
it shares with another, so each can be read alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from noisystudent.errors import SettingsError, nearest_name

TEST_CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The 15 corruptions that a mean corruption error averages, in the paper's order."""

EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four validation corruptions; they are excluded from all means."""

CORRUPTIONS = TEST_CORRUPTIONS + EXTRA_CORRUPTIONS

TEST_PERTURBATIONS = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "snow",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
"""The ten perturbations of ImageNet-P's means. CIFAR-10-P's published script has spatter in place of snow."""

EXTRA_PERTURBATIONS = ("speckle_noise", "gaussian_blur", "shear")
"""The validation perturbations without spatter; they are excluded from all means."""

PERTURBATIONS = TEST_PERTURBATIONS + EXTRA_PERTURBATIONS

SEVERITIES = (1, 2, 3, 4, 5)

Level = tuple[float, ...]
Levels = tuple[Level, Level, Level, Level, Level]


def _scalars(*levels: float) -> Levels:
    """Five severities with one parameter each."""
    first, second, third, fourth, fifth = levels
    return ((first,), (second,), (third,), (fourth,), (fifth,))


_32_PX: Mapping[str, Levels] = {
    "gaussian_noise": _scalars(0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": _scalars(500, 250, 100, 75, 50),
    "impulse_noise": _scalars(0.01, 0.02, 0.03, 0.05, 0.07),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "brightness": _scalars(0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": _scalars(0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": (
        (32 * 0, 32 * 0, 32 * 0.08),
        (32 * 0.05, 32 * 0.2, 32 * 0.07),
        (32 * 0.08, 32 * 0.06, 32 * 0.06),
        (32 * 0.1, 32 * 0.04, 32 * 0.05),
        (32 * 0.1, 32 * 0.03, 32 * 0.03),
    ),
    "pixelate": _scalars(0.95, 0.9, 0.85, 0.75, 0.65),
    "jpeg_compression": _scalars(80, 65, 58, 50, 40),
    "speckle_noise": _scalars(0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": _scalars(0.4, 0.6, 0.7, 0.8, 1),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
}

_64_PX: Mapping[str, Levels] = {
    "gaussian_noise": _scalars(0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": _scalars(250, 100, 50, 30, 15),
    "impulse_noise": _scalars(0.01, 0.02, 0.05, 0.08, 0.14),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": _32_PX["zoom_blur"],
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": _scalars(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _scalars(0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": (
        (64 * 0, 64 * 0, 64 * 0.08),
        (64 * 0.05, 64 * 0.3, 64 * 0.06),
        (64 * 0.1, 64 * 0.08, 64 * 0.06),
        (64 * 0.1, 64 * 0.03, 64 * 0.03),
        (64 * 0.16, 64 * 0.03, 64 * 0.02),
    ),
    "pixelate": _scalars(0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": _scalars(65, 58, 50, 40, 25),
    "speckle_noise": _scalars(0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": _scalars(0.5, 0.75, 1, 1.25, 1.5),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}

_224_PX: Mapping[str, Levels] = {
    "gaussian_noise": _scalars(0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _scalars(60, 25, 12, 5, 3),
    "impulse_noise": _scalars(0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": _scalars(0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": _scalars(0.4, 0.3, 0.2, 0.1, 0.05),
    # The published code has 244 and says that 224 was meant: the published images were generated with 244.
    "elastic_transform": (
        (244 * 2, 244 * 0.7, 244 * 0.1),
        (244 * 2, 244 * 0.08, 244 * 0.2),
        (244 * 0.05, 244 * 0.01, 244 * 0.02),
        (244 * 0.07, 244 * 0.01, 244 * 0.02),
        (244 * 0.12, 244 * 0.01, 244 * 0.02),
    ),
    "pixelate": _scalars(0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": _scalars(25, 18, 15, 10, 7),
    "speckle_noise": _scalars(0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": _scalars(1, 2, 3, 4, 6),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}

_299_PX: Mapping[str, Levels] = {
    **_224_PX,  # zoom_blur, snow, frost, brightness, contrast and saturate are those of 224 px
    "gaussian_noise": _scalars(0.09, 0.13, 0.19, 0.27, 0.40),
    "shot_noise": _scalars(50, 20, 10, 5, 3),
    "impulse_noise": _scalars(0.04, 0.07, 0.10, 0.18, 0.28),
    "defocus_blur": ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    "glass_blur": ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
    "motion_blur": ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
    "elastic_transform": (
        (360 * 2, 360 * 0.7, 360 * 0.1),
        (360 * 2, 360 * 0.08, 360 * 0.2),
        (360 * 0.05, 360 * 0.01, 360 * 0.02),
        (360 * 0.07, 360 * 0.01, 360 * 0.02),
        (360 * 0.12, 360 * 0.01, 360 * 0.02),
    ),
    "pixelate": _scalars(0.5, 0.4, 0.3, 0.25, 0.2),
    "jpeg_compression": _scalars(23, 16, 13, 8, 5),
    "speckle_noise": _scalars(0.16, 0.21, 0.36, 0.46, 0.61),
    "gaussian_blur": _scalars(1.5, 2.5, 3.5, 4.5, 6.5),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.9, 0),
        (0.65, 0.3, 3.5, 0.68, 0.9, 0),
        (0.65, 0.3, 3, 0.68, 0.8, 0),
        (0.65, 0.3, 1.2, 0.65, 1.8, 1),
        (0.67, 0.4, 1.2, 0.65, 1.8, 1),
    ),
}

TABLES: Mapping[int, Mapping[str, Levels]] = {32: _32_PX, 64: _64_PX, 224: _224_PX, 299: _299_PX}
"""The parameters of each corruption at the five severities, for each published image size in pixels."""


def table_for(size: int) -> int:
    """The published size whose table is used for images of ``size`` pixels: the nearest by ratio.

    Images of up to 45 px use the table of 32, 46 to 119 px that of 64, 120 to 258 px that of 224, larger ones that of
    299. Parameters in pixels are used as published, not scaled to the image, except for the textures of frost, which
    would otherwise be smaller than some images.
    """
    return min(TABLES, key=lambda published: abs(math.log(size / published)))


def level_of(name: str, severity: int, table: int) -> Level:
    """The published parameters of a corruption.

    Args:
        name: one of ``CORRUPTIONS``.
        severity: 1 to 5.
        table: the image size in pixels of the table, one of ``TABLES``.

    Returns:
        The parameters, in the order of the authors' code.

    Raises:
        SettingsError: the name, severity or table does not exist.
    """
    if name not in CORRUPTIONS:
        known = ", ".join(CORRUPTIONS)
        raise SettingsError(f"There is no corruption {name!r}.{nearest_name(name, CORRUPTIONS)} There are: {known}.")
    if severity not in SEVERITIES:
        raise SettingsError(f"The severity of a corruption must be 1, 2, 3, 4 or 5, not {severity!r}.")
    if table not in TABLES:
        raise SettingsError(
            f"There is no table of corruptions for {table!r} px. Tables are published for 32, 64, 224 and 299 px; "
            "leave the table out to use the one nearest to the images' size."
        )
    return TABLES[table][name][severity - 1]
