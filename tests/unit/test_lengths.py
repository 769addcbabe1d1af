"""Settings of how long and on what a stage trains: lists by round, and what contradicts each other."""

import pytest

from noisystudent.config import resolve
from noisystudent.errors import SettingsError

BASE = {"labeled": "a", "unlabeled": "b", "out": "c"}
TEACHER = {"labeled": "a", "out": "c"}


def refusal(given, command="run", base=BASE) -> str:
    with pytest.raises(SettingsError) as caught:
        resolve([base, given], command=command)
    return str(caught.value)


@pytest.mark.parametrize("ratio", ["14,14", "[14, 14]", [14, 14, 28, 28], "14,"])
@pytest.mark.parametrize("batch", ["total", "labeled"])
def test_a_list_of_ratios_has_one_for_every_round(ratio, batch):
    message = refusal({"train.ratio": ratio, "rounds.count": 3, "train.batch": batch})
    assert "one per round (14" in message
    assert "rounds.count is 3" in message


def test_a_ratio_is_one_number_or_a_list():
    by_round = resolve({**BASE, "train.ratio": "14,14,28", "rounds.count": 3}).settings.train
    assert [by_round.ratio_of(number) for number in (1, 2, 3)] == [14, 14, 28]
    assert resolve({**BASE, "train.ratio": "14"}).settings.train.ratio == 14
    assert "train.ratio" in refusal({"train.ratio": "14,0,28", "rounds.count": 3})
    assert "train.ratio" in refusal({"train.ratio": "many"})
    assert "train.ratio" in refusal({"train.ratio": []})


def test_a_single_student_has_no_rounds():
    message = refusal({"train.ratio": [3, 3]}, command="train")
    assert message == (
        "train.ratio is 3, 3: a list has one number per round of a run, and train has no rounds. Give one number."
    )
    assert "distill has no rounds" in refusal({"train.ratio": [3, 3]}, command="distill")


def test_steps_and_epochs_contradict_each_other(tmp_path):
    both = {"train.epochs": 2, "train.steps": 100}
    assert refusal(both, command="train", base=TEACHER) == (
        "train.epochs (2) and train.steps (100) both say how long a stage trains. Leave one of the two out."
    )
    file = tmp_path / "run.yaml"
    file.write_text("train: {epochs: 2}\n")
    with pytest.raises(SettingsError, match="both say"):
        resolve({**TEACHER, "train.steps": 100}, file, command="train")
    again = resolve({**TEACHER, "train.steps": 100, "train.epochs": 0}, file, command="train")
    assert again.settings.train.with_epochs(1000).steps == 100
