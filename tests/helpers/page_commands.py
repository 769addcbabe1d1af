"""The commands and the code of pages, and what they need to run in seconds."""

import re
import shlex
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
QUICK_TRAIN = ["--train.steps=2", "--train.batch_size=8", "--noise.strength=0.5"]
QUICK = [*QUICK_TRAIN, "--rounds.count=1"]
QUICK_OF = {"run": QUICK, "plan": QUICK, "train": QUICK_TRAIN, "distill": QUICK_TRAIN, "fix": ["--fix.epochs=1"]}
QUICK_SETTINGS = {"train.batch_size": 8, "rounds.count": 1, "noise.strength": 0.5, "train.steps": 2}


def make_photos(folder: Path) -> Path:
    """The folders that pages call ``photos/labeled``, ``photos/unlabeled`` and ``photos/test``, of two classes."""
    random = np.random.default_rng(0)
    for part, count in (("labeled/cat", 4), ("labeled/dog", 4), ("test/cat", 3), ("test/dog", 3), ("unlabeled", 12)):
        (folder / part).mkdir(parents=True)
        for i in range(count):
            image = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            image.save(folder / part / f"{i}.png")
    return folder


def shell_lines(page: str) -> list[str]:
    """The lines of the blocks of ``bash`` of a page, those within lists too."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


def commands_of(page: str) -> list[list[str]]:
    """The words after ``noisystudent`` of each command of a page; ``scripts/demo`` is ``noisystudent demo``."""
    words = [shlex.split(line.replace("scripts/demo", "noisystudent demo")) for line in shell_lines(page)]
    return [rest for first, *rest in words if first in ("noisystudent", ".venv/bin/noisystudent")]


def code_of(page: str) -> str:
    """All Python code of a page, in its order."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE))
