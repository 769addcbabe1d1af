"""A small training that torchrun starts in several processes; the first one saves the weights it ends with."""

import sys
from pathlib import Path

import torch

from noisystudent.runtime.device import Engine
from noisystudent.runtime.ranks import open_ranks
from noisystudent.training.batches import Batches, Division
from noisystudent.training.fit import fit
from noisystudent.training.settings import TrainSettings
from test_training import make_batches, make_classifier, objective

STEPS = 25


def train(folder: Path, engine: Engine, pieces: int, mixing=None):
    """The averaged weights after a few steps without model noise, which each process draws for itself."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = make_batches()
    division = Division(engine.ranks, pieces)
    batches = Batches(whole.feeds, whole.noise, mixing=mixing, division=division)
    classifier = make_classifier(dropout=0.0, stochastic_depth=0.0)
    # AdamW would blow rounding errors of gradients near 0 up to whole steps.
    settings = TrainSettings(steps=STEPS, accumulate=pieces, save_every=1e-6, optimizer="sgd", learning_rate=0.1)
    return fit(classifier, batches, objective, settings, folder, seed=3, engine=engine)[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    together = Engine(torch.device("cpu"), ranks=open_ranks())
    trained = train(Path(sys.argv[1]), together, int(sys.argv[2]))
    if together.ranks.first:
        torch.save(trained.state_dict(), Path(sys.argv[1]) / "weights.pt")
