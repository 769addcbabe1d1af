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


def test_a_run_says_which_of_its_stages_runs_and_when_all_of_them_end(capsys, monkeypatch):
    """Two stages of 100 and 300 samples follow: of the first one's steps of 10 samples, these are 40."""
    reporter = Reporter()
    reporter.expect({"teacher": 200, "labels": 0, "round-1/student": 100, "control": 300})
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with reporter.bar("teacher", 20, "steps") as bar:
        monkeypatch.setattr(time, "monotonic", lambda: now + PLAIN_INTERVAL)
        bar.advance(5)
    with reporter.bar("labels", 7, "images") as bar:
        monkeypatch.setattr(time, "monotonic", lambda: now + 2 * PLAIN_INTERVAL)
        bar.advance(1)
    with reporter.bar("control", 30, "steps") as bar:
        monkeypatch.setattr(time, "monotonic", lambda: now + 3 * PLAIN_INTERVAL)
        bar.advance(3)
    with reporter.bar("something else", 3, "images"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[1/4] teacher ..."
    assert lines[1] == "[1/4] teacher: 5/20 steps  0.5/s  30 s left, all about 2 min"  # 15 + 40 steps
    assert "[2/4] labels: 1/7 images  0.1/s  60 s left" in lines
    assert "[4/4] control: 3/30 steps  0.3/s  90 s left" in lines
    assert "something else ..." in lines
