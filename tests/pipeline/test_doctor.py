"""What the machine offers is measured, and advice follows from it."""

from noisystudent.commands.main import main
from noisystudent.pipeline import doctor


def test_the_command_measures_and_prints(capsys):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    for name in ("machine:", "torch:", "device:", "threads:", "decoding:", "training:", "feature cache:"):
        assert f"\n{name}" in f"\n{printed}"


def test_advice_follows_from_what_was_found(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(doctor, "count_cores", lambda: 4)
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    told = list(doctor._advice("cpu", 1, [], 1e9))
    for word, line in zip(("noisystudent[backbone]", "OMP_NUM_THREADS is 1", "noisystudent[onnx]"), told, strict=False):
        assert word in line
    assert "clean runs" in told[-1]
    monkeypatch.setattr(doctor, "find_spec", lambda _: object())
    assert list(doctor._advice("cuda", 4, ["efficientnet-lite0"], 1e12)) == []
