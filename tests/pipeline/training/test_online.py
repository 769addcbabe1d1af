"""An online training that is killed at any step goes on with what its objective remembers, to the same bits."""

from pathlib import Path

import pytest
import torch

from noisystudent.errors import ArtifactError
from noisystudent.losses.online import OnlineObjective
from noisystudent.losses.settings import OnlineSettings
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.training.loader import BatchLoader
from noisystudent.training.loop import METRICS, fit
from noisystudent.training.online import OnlineLoss, TwoViewBatches
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import STATE
from training_setup import Killed, make_batches, make_classifier, same_weights

STEPS, POOL = 45, 80
ALIGNED = {"alignment": "labeled"}


def train(folder: Path, method: str, values: dict[str, object], *, kill_at: int = -1):
    plain = make_batches()
    strong = InputNoise(NoiseSettings(), size=8, strength=0.5, rng=CounterRng(0, "strong"))
    settings = OnlineSettings(method=method, momentum=0.9, **values)
    batches = TwoViewBatches(BatchLoader(plain.streams, plain.noise), strong, settings.asks_average)

    def killed_batches(step):
        if step == kill_at:
            raise Killed
        return batches(step)

    memory = OnlineObjective(settings, classes=2, unlabeled=POOL)
    folder.mkdir(exist_ok=True)
    train_settings = TrainSettings(steps=STEPS, save_every=1e-6)
    trained, _ = fit(make_classifier(), killed_batches, OnlineLoss(memory, STEPS), train_settings, folder, seed=3)
    return trained, memory.state_dict(), (folder / METRICS).read_text()


@pytest.mark.parametrize(
    ("method", "values"),
    [("fixmatch", {}), ("flexmatch", ALIGNED), ("freematch", {}), ("softmatch", ALIGNED), ("mean_teacher", {}),
     ("fixmatch", {"teacher": "average", "threshold": 0.6})],
)  # fmt: skip
def test_a_killed_online_training_resumes_to_the_same_bits(tmp_path, method, values):
    expected, remembered, metrics = train(tmp_path / "undisturbed", method, values)
    with pytest.raises(Killed):
        train(tmp_path / "killed", method, values, kill_at=33)
    torch.rand(3)
    resumed, after, rows = train(tmp_path / "killed", method, values)
    assert same_weights(expected, resumed)
    assert all(torch.equal(remembered[name], after[name]) for name in remembered)
    assert rows == metrics


def test_a_state_without_what_the_objective_remembers_is_damaged(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, "freematch", {}, kill_at=33)
    state = torch.load(tmp_path / STATE, weights_only=True)
    del state["memory"]
    torch.save(state, tmp_path / STATE)
    with pytest.raises(ArtifactError, match=r"damaged.*delete it to restart"):
        train(tmp_path, "freematch", {})
