import pytest

from noisystudent.runtime import precision
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.settings import RuntimeSettings


@pytest.mark.parametrize(("factor", "warned"), [(3.21, True), (0.5, False)])
def test_a_precision_that_is_only_emulated_is_warned_about_with_the_measured_factor(
    factor, warned, monkeypatch, capsys
):
    monkeypatch.setattr(precision, "slowdown", lambda device, name: factor)
    precision.warn_of_emulation(RuntimeSettings(device="cpu", precision="bfloat16"), Reporter())
    line = capsys.readouterr().err
    assert ("takes 3.2 times as long" in line) == bool(line) == warned


@pytest.mark.parametrize("name", ["float32", "auto"])
def test_other_precisions_are_not_timed(name, monkeypatch):
    monkeypatch.setattr(precision, "slowdown", lambda device, name: pytest.fail("timed"))
    precision.warn_of_emulation(RuntimeSettings(precision=name), Reporter(quiet=True))


def test_a_lower_precision_is_timed_in_a_moment():
    assert 0 < precision.slowdown("cpu", "bfloat16") < 1e4
