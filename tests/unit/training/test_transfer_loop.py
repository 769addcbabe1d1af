"""BiT's optimization through THE loop: a last layer of zeros, plain momentum and drops, against torch by hand."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from torch.nn import functional as F

from noisystudent.models.create import zero_head
from noisystudent.training.loop import fit, learning_rate
from noisystudent.training.settings import TrainSettings
from training_setup import make_batches, make_classifier, objective

TRANSFER = TrainSettings(
    steps=20, batch_size=16, optimizer="momentum", learning_rate=0.01, weight_decay=0.0, schedule="steps",
    drops=(0.4, 0.6, 0.8), warmup=0.2, clip=0.0, ema_decay=0.0, layer_decay=1.0, batch_norm="frozen",
)  # fmt: skip


@pytest.fixture
def upstream():
    classifier = make_classifier(dropout=0.0, stochastic_depth=0.0)
    zero_head(classifier.net)
    return classifier


def test_the_loop_is_torchs_sgd_with_momentum_on_the_cross_entropy(upstream, tmp_path):
    batches, reference = make_batches(), copy.deepcopy(upstream).eval()
    trained, _ = fit(upstream, batches, objective, TRANSFER, tmp_path, seed=0)
    optimizer = torch.optim.SGD(reference.parameters(), lr=1.0, momentum=0.9)
    for step in range(TRANSFER.steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step, TRANSFER)
        batch = batches(step)
        optimizer.zero_grad()
        F.cross_entropy(reference(batch.pixels), batch.targets).backward()
        optimizer.step()
    for (name, ours), theirs in zip(trained.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4, msg=name)


def test_a_last_layer_of_zeros_begins_with_the_log_of_the_number_of_classes(upstream, tmp_path):
    still = TRANSFER.model_copy(update={"steps": 20, "learning_rate": 1e-12})
    fit(upstream, make_batches(), objective, still, tmp_path, seed=0)
    row = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert row["loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_all_layers_move(upstream, tmp_path):
    before = copy.deepcopy(upstream)
    trained, _ = fit(upstream, make_batches(), objective, TRANSFER, tmp_path, seed=0)
    moved = {
        name: not torch.equal(first, second)
        for (name, first), second in zip(before.named_parameters(), trained.parameters(), strict=True)
    }
    assert all(moved.values()), moved
