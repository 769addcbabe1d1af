import errno

import numpy as np
import pytest
import torch

from noisystudent.commands.main import main
from noisystudent.errors import TrainingError
from noisystudent.runtime.memory import is_out_of_memory, memory_shortage_as_error


def allocate_with_torch():
    torch.empty(2**60, dtype=torch.uint8)


def allocate_with_numpy():
    np.empty(2**60, np.uint8)


@pytest.mark.parametrize("allocate", [allocate_with_torch, allocate_with_numpy])
def test_a_shortage_is_one_line_with_what_to_lower(allocate):
    line = r"too little memory \(.*\)\. Lower train\.batch_size; finished"
    with (
        pytest.raises(TrainingError, match=line) as caught,
        memory_shortage_as_error(TrainingError, "train.batch_size"),
    ):
        allocate()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    ],
)
def test_every_kind_of_shortage_is_recognized(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes"), ValueError("out of memory"), OSError(2, "x")])
def test_other_errors_pass(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), memory_shortage_as_error(TrainingError, "x"):
        raise error


def test_the_command_line_turns_a_shortage_into_a_line(monkeypatch, capsys):
    def fail(parser, arguments):
        raise MemoryError

    monkeypatch.setitem(__import__("noisystudent.commands.main").commands.main.COMMANDS, "report", ("x", fail))
    assert main(["report"]) == 1
    assert "runtime.label_batch_size" in capsys.readouterr().err
