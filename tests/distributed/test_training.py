"""Several processes, as torchrun starts them, train one model on the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from noisystudent.errors import SettingsError
from noisystudent.models.create import count_parameters, create_model
from noisystudent.models.parallel import SyncBatchNorm, fsdp_units
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.mixing import Mixing
from noisystudent.runtime.device import ON_CPU
from noisystudent.runtime.process_group import ProcessGroup, open_process_group
from noisystudent.training.loader import BatchLoader, BatchSharding, InMemoryStream
from noisystudent.training.state import STATE
from training_setup import Killed, make_batches
from training_together import METHODS, train

PROGRAM = Path(__file__).parents[1] / "helpers" / "training_together.py"


@pytest.fixture
def train_in_two(fork_server, tmp_path):
    """Trains in two processes into ``tmp_path`` and returns the weights."""

    def train_in_two(*options: str) -> dict[str, torch.Tensor]:
        fork_server.run([tmp_path, 1, *options], processes=2, program=PROGRAM)
        return torch.load(tmp_path / "weights.pt", weights_only=True)

    return train_in_two


@pytest.fixture(scope="module")
def single_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single_process")
    return folder, train(folder, ON_CPU, 1).state_dict()


def assert_close(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert weights.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(weights[name], values, rtol=1e-4, atol=1e-5, msg=name)


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("options", [(), ("sharded", "checked")], ids=["whole", "sharded"])
def test_two_processes_train_the_same_model_as_one(train_in_two, tmp_path, single_process, options):
    folder, weights = single_process
    assert_close(train_in_two(*options), weights)
    assert [row["step"] for row in rows_of(tmp_path)] == [20, 25]
    for row, expected in zip(rows_of(tmp_path), rows_of(folder), strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-5)
    # One process can resume from the state that several wrote.
    assert_close(train(tmp_path, ON_CPU, 1).state_dict(), torch.load(tmp_path / "weights.pt", weights_only=True))


@pytest.mark.parametrize("options", [("tuned",), ("tuned", "sharded")], ids=["whole", "sharded"])
def test_two_processes_train_the_last_blocks_as_one(train_in_two, tmp_path, options):
    alone = train(tmp_path / "alone", ON_CPU, 1, tuned=True).state_dict()
    assert_close(train_in_two(*options), alone)


@pytest.mark.parametrize("options", [("fixed",), ("fixed", "sharded")], ids=["whole", "sharded"])
def test_two_processes_fix_a_resolution_as_one(train_in_two, tmp_path, options):
    alone = train(tmp_path / "alone", ON_CPU, 1, fixed=True).state_dict()
    assert_close(train_in_two(*options), alone)


@pytest.mark.parametrize(
    "options", [*((method,) for method in METHODS), ("fixmatch", "sharded"), ("freematch", "sharded")], ids=" ".join
)
def test_two_processes_train_an_online_student_as_one(train_in_two, tmp_path, options):
    alone = train(tmp_path / "alone", ON_CPU, 1, online=options[0]).state_dict()
    assert_close(train_in_two(*options), alone)
    memories = [torch.load(folder / STATE, weights_only=True)["memory"] for folder in (tmp_path, tmp_path / "alone")]
    assert memories[0].keys() == memories[1].keys()
    for name, values in memories[1].items():
        torch.testing.assert_close(memories[0][name], values, rtol=1e-4, atol=1e-5, msg=name)


def test_processes_that_shard_a_model_resume_from_the_state_of_one(train_in_two, tmp_path, single_process):
    with pytest.raises(Killed):
        train(tmp_path, ON_CPU, 1, kill_at=22)
    assert_close(train_in_two("sharded"), single_process[1])


def test_fsdp_units_are_disjoint_and_hold_most_of_a_network():
    for name, count, largest in (("resnet50", 16, "layer4.0"), ("efficientnet_b0", 16, "blocks.6.0")):
        net = create_model(name, classes=3, channels=3, size=64)
        names = {module: name for name, module in net.named_modules()}
        units = fsdp_units(net)
        inside = [parameter for unit in units for parameter in unit.parameters()]
        assert len(inside) == len(set(inside))
        assert count_parameters(net) * 0.85 < sum(map(torch.numel, inside)) <= count_parameters(net)
        assert len(units) == count
        assert names[max(units, key=count_parameters)] == largest


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("mixed", [False, True])
def test_shares_and_micro_batches_make_up_the_whole_batch(count, mixed):
    mixing = Mixing(mixup=1.0, cutmix=1.0, rng=CounterRng(0, "mixing")) if mixed else None
    like = make_batches()

    def batch(sharding: BatchSharding, micro_step: int):
        return BatchLoader(like.streams, like.noise, mixing=mixing, sharding=sharding)(micro_step)

    whole = batch(BatchSharding(), 5)
    for split in ("ranks", "micro-batches"):
        shares = [
            batch(BatchSharding(ProcessGroup(number, count)), 5)
            if split == "ranks"
            else batch(BatchSharding(micro_batches=count), 5 * count + number)
            for number in range(count)
        ]
        assert all(share.labeled == 8 // count for share in shares)
        for part in (slice(None, 8 // count), slice(8 // count, None)):
            first = 0 if part.start is None else 8
            pixels = torch.stack([share.pixels[part] for share in shares], dim=1).flatten(0, 1)
            targets = torch.stack([share.targets[part] for share in shares], dim=1).flatten(0, 1)
            assert torch.equal(pixels, whole.pixels[first : first + 8])
            assert torch.equal(targets, whole.targets[first : first + 8])


def test_a_batch_that_does_not_split_evenly_is_refused_with_the_numbers():
    like = make_batches()
    with pytest.raises(SettingsError, match="8 labeled images, which 3 processes"):
        BatchLoader(like.streams, like.noise, sharding=BatchSharding(ProcessGroup(0, 3)))
    labeled = like.streams[0]
    assert isinstance(labeled, InMemoryStream)
    uneven = (labeled, InMemoryStream("pseudo", labeled.buffer, labeled.targets, np.arange(20, 60), 7, seed=0))
    with pytest.raises(SettingsError, match="7 pseudo images"):
        BatchLoader(uneven, like.noise, sharding=BatchSharding(micro_batches=2))


def test_synchronized_statistics_equal_those_of_torch_in_one_process(monkeypatch):
    monkeypatch.setattr("noisystudent.models.parallel.sum_over_processes", lambda values: values)
    torch.manual_seed(0)
    reference, wrapped = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    synchronized = SyncBatchNorm(wrapped, ProcessGroup())
    for norm in (reference, wrapped):
        nn.init.constant_(norm.weight, 1.3)
        nn.init.constant_(norm.bias, -0.4)
    for _ in range(3):
        x = torch.randn(6, 3, 5, 4, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        expected, result = reference(x), synchronized(y)
        torch.testing.assert_close(result, expected)
        expected.square().sum().backward()
        result.square().sum().backward()
        torch.testing.assert_close(y.grad, x.grad, rtol=1e-4, atol=1e-4)
    synchronized.eval()
    torch.testing.assert_close(
        synchronized(x),
        nn.functional.batch_norm(x, synchronized.running_mean, synchronized.running_var, wrapped.weight, wrapped.bias),
    )
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(synchronized, name), getattr(reference, name))


@pytest.mark.parametrize(("rank", "count"), [("2", "2"), ("-1", "4"), ("one", "2"), ("0", "")])
def test_an_invalid_rank_is_refused(monkeypatch, rank, count):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(SettingsError, match=f"RANK={rank!r}"):
        open_process_group()


def test_every_row_belongs_to_exactly_one_process():
    for rows in (0, 1, 7, 10, 512):
        for count in (1, 2, 3, 8):
            shares = [np.arange(rows)[ProcessGroup(rank, count).share_of(rows)] for rank in range(count)]
            assert np.array_equal(np.concatenate(shares), np.arange(rows))
