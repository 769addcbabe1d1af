"""Files of weights: tensors only, wherever training scripts put them; everything else is refused in one line."""

import os

import pytest
import torch
from safetensors.torch import save_file

from noisystudent.errors import ModelError
from noisystudent.models.weights_file import read_weights_file

TENSORS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "fc.bias": torch.ones(2)}


class Runs:
    """A pickle of this would call ``os.mkdir`` when it is opened."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def same(found):
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert same(read_weights_file(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".PTH"])
@pytest.mark.parametrize("place", [None, "state_dict", "model", "ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_files_of_torch_as_training_scripts_write_them(tmp_path, suffix, place, prefix):
    tensors = {f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}
    torch.save({place: tensors, "epoch": 3} if place else tensors, tmp_path / f"w{suffix}")
    assert same(read_weights_file(tmp_path / f"w{suffix}"))


def test_averaged_weights_come_first(tmp_path):
    other = {name: tensor + 1 for name, tensor in TENSORS.items()}
    torch.save({"state_dict": other, "state_dict_ema": TENSORS}, tmp_path / "w.pth")
    assert same(read_weights_file(tmp_path / "w.pth"))


@pytest.mark.parametrize("legacy", [True, False])
def test_code_is_refused_and_does_not_run(tmp_path, legacy):
    path = tmp_path / "w.pth"
    content = {"state_dict": TENSORS, "more": Runs(tmp_path / "ran")}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match=r"w\.pth is refused.*can run any code.*save_file"):
        read_weights_file(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0, 5, 100, -20])
def test_truncated_files_are_named(tmp_path, suffix, kept):
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(TENSORS, path)
    else:
        save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=rf"w{suffix} is (damaged|refused)") as caught:
        read_weights_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [3, [torch.ones(2)], {}, {"state_dict": {"a": 1}}, {"epoch": 3}])
def test_what_is_no_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"w\.pth must hold named tensors only.*state_dict\(\)"):
        read_weights_file(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"w\.pth does not exist"):
        read_weights_file(tmp_path / "w.pth")
