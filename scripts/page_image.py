#!/usr/bin/env python3
"""Writes docs/page.webp: the first screen of the demo's page, drawn by Chromium.

scripts/demo
.venv/bin/python scripts/page_image.py runs/demo
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

FILE = Path(__file__).parents[1] / "docs" / "page.webp"
WIDTH, HEIGHT = 1200, 640
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def draw(page: Path, out: Path) -> None:
    """Draws the first screen of a page into a WebP file."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"no browser was found; install one of {', '.join(BROWSERS)}.")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={folder}/profile", f"--screenshot={shot}"]
        subprocess.run([browser, *options, page.resolve().as_uri()], check=True, capture_output=True)
        with Image.open(shot) as image:
            image.convert("RGB").save(out, quality=90, method=6)


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo") / "report.html", FILE)
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")
