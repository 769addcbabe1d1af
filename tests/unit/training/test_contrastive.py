"""Contrastive pretraining in the training loop: pairs of views, exact resume, and features that tell images apart."""

import numpy as np
import pytest
import torch

from contrastive_setup import make_batches, make_projected
from noisystudent.losses.contrastive import nt_xent
from noisystudent.runtime.process_group import SINGLE, ProcessGroup
from noisystudent.training.contrastive import ContrastiveLoss
from noisystudent.training.loader import BatchSharding
from noisystudent.training.loop import fit
from noisystudent.training.settings import TrainSettings
from training_setup import Killed, same_weights

SETTINGS = TrainSettings(
    steps=30, batch_size=8, optimizer="lars", learning_rate=0.5, clip=0, ema_decay=0, save_every=1e-6
)


def test_a_batch_holds_the_first_and_then_the_second_views_of_its_images():
    batches = make_batches()
    batch, indices = batches(3), batches.stream.indices(3)
    raw = batches.stream.fetch(indices)
    epochs, positions = torch.from_numpy(indices.epochs), torch.from_numpy(indices.positions)
    for number in (0, 1):
        expected = batches.view(raw.pixels, raw.sizes, 2 * epochs + number, positions)
        assert torch.equal(batch.pixels[8 * number : 8 * number + 8], expected)
    assert not torch.equal(batch.pixels[:8], batch.pixels[8:])
    assert batch.labeled == 0


def test_processes_share_the_images_of_a_batch_in_pairs():
    whole = make_batches()(2).pixels
    parts = [make_batches(BatchSharding(ProcessGroup(rank, 2)))(2).pixels for rank in (0, 1)]
    for rank, part in enumerate(parts):
        assert torch.equal(part, torch.cat([whole[:8][rank::2], whole[8:][rank::2]]))


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_objective_is_the_scaled_loss_of_both_halves(scale):
    projections = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    terms = ContrastiveLoss(0.5, scale, SINGLE)(projections, make_batches()(0))
    assert float(terms.loss) == pytest.approx(scale * float(nt_xent(projections[:6], projections[6:], 0.5)), rel=1e-6)
    assert 0 < float(terms.named["spread"]) < 1.2


def test_a_killed_pretraining_ends_with_the_bits_of_one_that_was_not(tmp_path):
    objective = ContrastiveLoss(0.5, 1.0, SINGLE)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    undisturbed, _ = fit(make_projected(), make_batches(), objective, SETTINGS, tmp_path / "a", seed=3)
    for kill_at in (7, 23, 29):
        batches = make_batches()

        def killed(step, batches=batches, kill_at=kill_at):
            if step == kill_at:
                raise Killed
            return batches(step)

        with pytest.raises(Killed):
            fit(make_projected(), killed, objective, SETTINGS, tmp_path / "b", seed=3)
    resumed, _ = fit(make_projected(), make_batches(), objective, SETTINGS, tmp_path / "b", seed=3)
    assert same_weights(undisturbed, resumed)


def test_the_loss_falls(tmp_path):
    objective, batches = ContrastiveLoss(0.5, 1.0, SINGLE), make_batches()
    settings = SETTINGS.model_copy(update={"optimizer": "adamw", "learning_rate": 2e-3, "steps": 60})
    before = make_projected()
    trained, _ = fit(make_projected(), batches, objective, settings, tmp_path, seed=3)

    def loss_of(classifier) -> float:
        classifier.train()
        with torch.no_grad():
            return float(
                np.mean([float(objective(classifier(batches(s).pixels), batches(s)).loss) for s in range(90, 95)])
            )

    assert loss_of(trained) < loss_of(before) - 0.2
