"""Several processes that enter one folder at once from different inputs: again and again, because races are rare."""

import threading

import pytest

from at_once import DEADLOCK, at_once
from noisystudent.artifacts import claims
from noisystudent.artifacts.claims import shared_folder
from noisystudent.artifacts.folder import read_json
from noisystudent.errors import MismatchError


@pytest.fixture
def patience(monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.3)


def test_of_two_inputs_at_once_only_one_gets_the_new_folder(tmp_path, patience):
    for number in range(10):
        folder = tmp_path / str(number) / "stage"
        everyone = threading.Barrier(8, timeout=DEADLOCK)

        def enter(index: int, folder=folder, everyone=everyone) -> str:
            inputs = {"teacher": index % 2}
            try:
                with shared_folder(folder, inputs):
                    everyone.wait()
                    assert read_json(folder / "inputs.json") == inputs
                    return str(index % 2)
            except MismatchError:
                everyone.wait()
                return "refused"

        entered = at_once(8, enter)
        assert entered.count("refused") == 4
        assert len(set(entered)) == 2
        assert [path.name for path in folder.parent.iterdir()] == ["stage"]
