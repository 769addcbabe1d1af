"""Contrastive pretraining by several processes: each loss is over the images of all, and gradients reach their own."""

from pathlib import Path

import pytest
import torch

from contrastive_setup import make_projected, train
from noisystudent.runtime.device import ON_CPU

PROGRAM = Path(__file__).parents[1] / "helpers" / "contrastive_setup.py"


@pytest.mark.parametrize("options", [("sgd",), ("sgd", "sharded"), ("lars", "sharded")], ids=" ".join)
def test_two_processes_pretrain_the_same_encoder_as_one(fork_server, tmp_path, options):
    alone = train(tmp_path / "alone", ON_CPU, options[0]).state_dict()
    fork_server.run([tmp_path, *options], processes=2, program=PROGRAM)
    together = torch.load(tmp_path / "weights.pt", weights_only=True)
    before = make_projected().state_dict()
    moved = 0.0
    for name, values in alone.items():
        torch.testing.assert_close(together[name], values, rtol=1e-4, atol=1e-5, msg=name)
        moved = max(moved, float((values.float() - before[name].float()).abs().max()))
    assert moved > 1e-3
