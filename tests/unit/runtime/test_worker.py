"""The number of a worker, from its option and from the variables that schedulers and launchers set."""

import pytest
import torch

from noisystudent.errors import SettingsError
from noisystudent.runtime.device import open_device
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.runtime.worker import Worker, find_worker

VARIABLES = (
    "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP",
    "JOB_COMPLETION_INDEX", "RANK", "WORLD_SIZE", "LOCAL_RANK",
)  # fmt: skip


@pytest.fixture
def environment(monkeypatch):
    """Sets variables of the environment; at first none that describes a worker."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return lambda values: [monkeypatch.setenv(name, str(value)) for name, value in values.items()]


def slurm(task, count, first=0, step=1):
    names = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP")
    return dict(zip(names, (task, count, first, step), strict=True))


@pytest.mark.parametrize(
    ("values", "given", "expected"),
    [
        ({}, None, Worker(0, 1, "")),
        ({}, "3/16", Worker(2, 16, "--worker")),
        (slurm(5, 16), None, Worker(5, 16, "SLURM_ARRAY_TASK_ID")),
        (slurm(5, 16, first=1), None, Worker(4, 16, "SLURM_ARRAY_TASK_ID")),
        (slurm(30, 4, first=10, step=10), None, Worker(2, 4, "SLURM_ARRAY_TASK_ID")),
        ({"SLURM_ARRAY_TASK_ID": 1, "SLURM_ARRAY_TASK_COUNT": 2}, None, Worker(1, 2, "SLURM_ARRAY_TASK_ID")),
        ({"JOB_COMPLETION_INDEX": 0}, "auto/4", Worker(0, 4, "JOB_COMPLETION_INDEX")),
        ({"JOB_COMPLETION_INDEX": 3}, "auto/4", Worker(3, 4, "JOB_COMPLETION_INDEX")),
        ({"RANK": 1, "WORLD_SIZE": 2}, None, Worker(1, 2, "RANK")),
        ({"RANK": 0, "WORLD_SIZE": 1}, None, Worker(0, 1, "")),
        ({"RANK": 1}, None, Worker(0, 1, "")),
        ({**slurm(2, 3), "RANK": 1, "WORLD_SIZE": 2}, None, Worker(5, 6, "SLURM_ARRAY_TASK_ID, RANK")),
        ({**slurm(2, 3), "RANK": 1, "WORLD_SIZE": 2}, "1/2", Worker(0, 2, "--worker")),
    ],
)
def test_the_worker_comes_from_option_scheduler_and_launcher(environment, values, given, expected):
    environment(values)
    assert find_worker(given) == expected


@pytest.mark.parametrize("given", ["17/16", "0/16", "3", "3/0", "x/16", "-1/16", "3/16/2", "3.5/16", "", "auto", "9/"])
def test_an_impossible_worker_is_refused_with_the_value_and_the_allowed_form(environment, given):
    with pytest.raises(SettingsError, match=r"--worker is '.*3/16, the third of sixteen") as caught:
        find_worker(given)
    assert repr(given) in str(caught.value)


@pytest.mark.parametrize(
    ("values", "given", "named"),
    [
        ({"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_COUNT": "3"}, None, "SLURM_ARRAY_TASK_ID is 'x'"),
        ({"SLURM_ARRAY_TASK_ID": "1"}, None, "SLURM_ARRAY_TASK_COUNT is not set"),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "0"}, None, "SLURM_ARRAY_TASK_COUNT is '0'"),
        ({"JOB_COMPLETION_INDEX": "2"}, None, "--worker auto/N"),
        ({"JOB_COMPLETION_INDEX": "4"}, "auto/4", "JOB_COMPLETION_INDEX is 4"),
        ({}, "auto/4", "JOB_COMPLETION_INDEX is not set"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, None, "RANK='2' and WORLD_SIZE='2'"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, None, "RANK='one'"),
    ],
)
def test_contradictory_variables_of_the_environment_are_named(environment, values, given, named):
    environment(values)
    with pytest.raises(SettingsError) as caught:
        find_worker(given)
    assert named in str(caught.value)


def test_workers_that_divide_a_worker_divide_its_share():
    outer = [Worker(index, 3) for index in range(3)]
    inner = [worker.divided(index, 4, "") for worker in outer for index in range(4)]
    assert [(worker.index, worker.count) for worker in inner] == [(index, 12) for index in range(12)]


def test_processes_of_one_machine_are_spread_over_its_cuda_devices(environment, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(open_device(RuntimeSettings())) == "cuda:0"
    for rank, name in enumerate(("cuda:0", "cuda:1", "cuda:0")):
        environment({"LOCAL_RANK": rank})
        assert str(open_device(RuntimeSettings())) == name
        assert str(open_device(RuntimeSettings(device="cuda:1"))) == "cuda:1"
    assert str(open_device(RuntimeSettings(device="cpu"))) == "cpu"
