import pytest

from noisystudent.errors import SettingsError
from noisystudent.runtime.env import launcher_rank, local_rank

HOSTILE = ["abc", "", "-1", "1.5", "9" * 5000, "²"]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_local_rank_that_is_no_number_is_one_line(value, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", value)
    with pytest.raises(SettingsError, match="LOCAL_RANK"):
        local_rank()


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
def test_a_rank_that_is_no_number_is_one_line(value, name, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="WORLD_SIZE"):
        launcher_rank()


@pytest.mark.parametrize("more", [{}, {"MASTER_ADDR": "localhost", "MASTER_PORT": "abc"}])
def test_processes_that_cannot_find_each_other_are_one_line(more, monkeypatch):
    from noisystudent.runtime.process_group import open_process_group

    for name, value in {"RANK": "0", "WORLD_SIZE": "2", **more}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="do not find each other"):
        open_process_group()
