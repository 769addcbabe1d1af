"""Pages and sheets to look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from noisystudent.config import given_values, section_settings
from noisystudent.errors import SettingsError
from noisystudent.settings_input import SettingsInput

if TYPE_CHECKING:
    from noisystudent.api.requests import SourceLike
    from noisystudent.reporting.sheet import NoiseSheet


def report(folder: str | Path) -> Path:
    """Writes the page of a finished run again.

    Args:
        folder: The folder of the run. Its images come from the run's sources; where those are gone, from the copies
            that the run kept, and the page says so.

    Returns:
        The path of the page, ``report.html`` in the folder.

    Raises:
        ArtifactError: The folder holds no finished run, or a file in it is damaged.
    """
    from noisystudent.pipeline.page_images import SourceImages
    from noisystudent.reporting.page import write_report

    sources = SourceImages.of_run(Path(folder))
    return write_report(Path(folder), load_images=sources, truth=sources.truth())


def show_noise(
    *,
    source: SourceLike,
    out: str | Path,
    by: Literal["strengths", "operations"] = "strengths",
    images: int = 8,
    settings: SettingsInput | None = None,
) -> NoiseSheet:
    """Writes a contact sheet (PNG) of images under noise, to see whether a person still knows the class.

    Args:
        source: The images; they are spread evenly over the source, one per row.
        out: The PNG file.
        by: The columns: ``noise.strengths``, or RandAugment's operations one by one at ``noise.strength`` (1 when that
            is auto).
        images: The number of images.
        settings: Settings of the section ``noise``, and those of ``data`` that say how images are read: ``size``,
            ``channels``, ``resize``, ``max_corrupt_fraction`` and ``memory_limit_gb``.

    Returns:
        The sheet, which a notebook shows, and which stands wherever a path does.

    Raises:
        NoisyStudentError: With one clear line, for a user's mistake or bad data.
    """
    from noisystudent.data.images import infer_format
    from noisystudent.data.output import require_output_file
    from noisystudent.data.sample import SpreadSource
    from noisystudent.data.settings import DataSettings
    from noisystudent.data.sources.open import open_source
    from noisystudent.data.splits import decode
    from noisystudent.noise.counter_rng import CounterRng
    from noisystudent.noise.settings import NoiseSettings
    from noisystudent.noise.sheet import operations_sheet, strengths_sheet
    from noisystudent.reporting.sheet import is_sheet, write_sheet

    require_output_file(out, [source], ending=".png", is_own=is_sheet)
    if images < 1:
        raise SettingsError(f"--images is {images}; give a whole number of at least 1.")
    noise = section_settings(NoiseSettings, "noise", settings, command="show-noise")
    _require_drawn(by, settings)
    data = section_settings(DataSettings, "data", settings, command="show-noise")
    sample = SpreadSource(open_source(source, labeled=False), images)
    format = infer_format(sample, data)
    format = replace(format, crop=1.0 if format.squash else None)  # as a run without a backbone sees them
    decoded = decode(sample, format, data)
    rng = CounterRng(0, "show-noise")
    if by == "operations":
        strength = 1.0 if noise.strength == "auto" else noise.strength
        sheet = operations_sheet(decoded, noise, format=format, strength=strength, rng=rng)
    else:
        sheet = strengths_sheet(decoded, noise, format=format, rng=rng)
    return write_sheet(Path(out), sheet.columns, sheet.cells)


def _require_drawn(by: Literal["strengths", "operations"], settings: SettingsInput | None) -> None:
    """Raises ``SettingsError`` for settings of noise that the columns of a sheet do not show."""
    shown = ("preset", "policy", "magnitude", "operations", "translation", "cutout", "pixel_reference", "strength")
    names = [name for name in given_values(settings) if name.startswith("noise.")]
    if by == "operations":
        unused = [name for name in names if name.removeprefix("noise.") not in shown]
    else:
        unused = [name for name in names if name == "noise.strength"]
    if unused:
        other = "strengths" if by == "operations" else "operations"
        raise SettingsError(
            f"show-noise --by {by} does not show {', '.join(unused)}. Leave that out, or give --by {other}"
            f"{'' if by == 'operations' else ', or noise.strengths'}."
        )
