import time

from noisystudent.runtime.progress import PLAIN_INTERVAL, Bar, Reporter


def test_no_time_is_left_before_there_is_a_rate(capsys, monkeypatch):
    bar = Bar("label", 20_000, "images", None)
    bar.start_at(500)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + PLAIN_INTERVAL)
    bar.advance(0)
    monkeypatch.setattr(time, "monotonic", lambda: now + 2 * PLAIN_INTERVAL)
    bar.advance(1_000, {"loss": 0.5})
    first, second = capsys.readouterr().err.splitlines()
    assert first == "label: 500/20000 images  time left unknown"
    assert second.startswith("label: 1500/20000 images  50/s  370 s left  loss 0.5")


def test_remarks_write_out_what_a_terminal_would_obey(capsys):
    Reporter().say("class \x1b[2Jcat")
    assert capsys.readouterr().err == "class \\x1b[2Jcat\n"


def test_a_remark_is_printed_letter_by_letter(capsys):
    Reporter().say("labeled: 3 images from hf:cat:train [bold]")
    assert capsys.readouterr().err == "labeled: 3 images from hf:cat:train [bold]\n"
    Reporter(quiet=True).say("nothing")
    assert capsys.readouterr().err == ""
