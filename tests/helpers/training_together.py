"""A small training that torchrun starts in several processes; the first one saves the final weights."""

import sys
from pathlib import Path

import pytest
import torch

from noisystudent.losses.online import OnlineObjective
from noisystudent.losses.settings import OnlineSettings
from noisystudent.models.ema import Ema
from noisystudent.models.fixing import train_classifier_alone
from noisystudent.models.parallel import wrap_fsdp
from noisystudent.models.tuning import train_last_blocks
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.runtime.device import Engine
from noisystudent.runtime.env import exit_process
from noisystudent.runtime.process_group import open_process_group
from noisystudent.runtime.sharded_state import local_shard
from noisystudent.training.loader import BatchLoader, BatchSharding
from noisystudent.training.loop import fit
from noisystudent.training.online import OnlineLoss, TwoViewBatches
from noisystudent.training.settings import TrainSettings
from training_setup import Killed, make_batches, make_classifier, objective, same_weights

STEPS = 25
METHODS = ("fixmatch", "flexmatch", "freematch", "softmatch", "mean_teacher")
ONLINE_STEPS = 5  # a threshold turns rounding errors into other targets, so longer trainings cannot be compared


def train(
    folder: Path,
    engine: Engine,
    micro_batches: int,
    mixing=None,
    kill_at: int | None = None,
    tuned=False,
    online=None,
    fixed=False,
):
    """The averaged model after a few steps without model noise, because each process draws its own."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = make_batches()
    sharding = BatchSharding(engine.group, micro_batches)
    batches = BatchLoader(whole.streams, whole.noise, mixing=mixing, sharding=sharding)
    loss = objective
    if online:
        chosen = OnlineSettings(method=online, threshold=0.6, momentum=0.5, fairness=0.5)
        strong = InputNoise(NoiseSettings(), size=8, strength=0.5, rng=CounterRng(0, "strong"))
        batches = TwoViewBatches(batches, strong, chosen.asks_average)
        loss = OnlineLoss(OnlineObjective(chosen, classes=2, unlabeled=80), ONLINE_STEPS, engine.group)
    classifier = make_classifier(dropout=0.0, stochastic_depth=0.0)
    if tuned:
        train_last_blocks(classifier.net, 2)
    if fixed:
        train_classifier_alone(classifier, "statistics")
    # AdamW would amplify rounding errors of gradients near 0 to whole steps.
    settings = TrainSettings(
        steps=ONLINE_STEPS if online else STEPS,
        grad_accum_steps=micro_batches,
        save_every=1e-6,
        evaluate_every=20,
        optimizer="sgd",
        learning_rate=0.1,
        layer_decay=0.5 if tuned else 1.0,
    )

    def killed_batches(micro_step):
        if micro_step == kill_at:
            raise Killed
        return batches(micro_step)

    return fit(classifier, killed_batches, loss, settings, folder, seed=3, engine=engine, evaluate=evaluate)[0]


def evaluate(classifier):
    return {"weight": float(classifier.net.classifier.weight.abs().sum())}


def check_shares(engine: Engine) -> None:
    """Checks that every process holds about its share of the parameters and of their averages, and no more."""
    classifier = make_classifier()
    count = sum(parameter.numel() for parameter in classifier.parameters())
    ema = Ema(classifier, 0.9)
    wrap_fsdp(classifier, ema, engine)
    for model in (classifier, ema.classifier):
        held = sum(local_shard(parameter).numel() for parameter in model.parameters())
        assert abs(held / count - 1 / engine.group.world_size) < 0.01, held


def check_resuming(folder: Path, engine: Engine, whole) -> None:
    with pytest.raises(Killed):
        train(folder, engine, 1, kill_at=22)
    assert same_weights(whole, train(folder, engine, 1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, micro_batches, options = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    engine = Engine(torch.device("cpu"), group=open_process_group(), sharded="sharded" in options)
    methods = [option for option in options if option in METHODS]
    kind = {"tuned": "tuned" in options, "fixed": "fixed" in options, "online": methods[0] if methods else None}
    trained = train(folder, engine, micro_batches, **kind)
    if "checked" in options:
        check_shares(engine)
        check_resuming(folder / "killed", engine, trained)
    if engine.group.is_main:
        torch.save(trained.state_dict(), folder / "weights.pt")
    exit_process(0)
