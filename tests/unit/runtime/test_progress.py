import io
import time

import pytest
from rich.console import Console

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


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test moves it."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_live_line_says_what_matters_first(clock):
    shown = []
    bar = Bar("teacher", 150, "steps", lambda bar, now: shown.append(bar.parts(now)), later=1500)
    bar.advance(0)  # too soon after the last
    clock[0] += 10
    bar.advance(1)
    bar.advance(1)
    clock[0] += 30
    bar.advance(78, {"loss": 0.8312})
    assert shown[0] == ["1/150", "24:50 left", "all 4:34:50", "0.1 steps/s"]
    assert shown[1:] == [["80/150", "0:35 left", "all 13:05", "2 steps/s", "loss 0.8312"]]


@pytest.mark.parametrize("width", [50, 80, 120, 200])
def test_a_live_line_never_breaks_or_cuts_a_word(width, clock):
    """On a terminal of this width, every word of the line is a whole one."""
    reporter, stream = Reporter(), io.StringIO()
    reporter.console = Console(file=stream, force_terminal=True, width=width, legacy_windows=False, color_system=None)
    reporter.expect({"strength/0.25-fold-1": 100, "round-1/student": 300})
    with reporter.bar("strength/0.25-fold-1", 20_000, "steps") as bar:
        clock[0] += 100
        bar.advance(1234, {"loss": 0.8312, "labeled": 0.5123, "pseudo": 1.2345, "learning_rate": 0.001})
    text = stream.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    lines = [line.split("\x1b[2K")[-1] for line in text.replace("\r", "\n").splitlines() if "1234/20000" in line]
    assert lines
    words = [word for line in lines for word in line.split()]
    allowed = "[1/2] strength/0.25-fold-1 1234/20000 25:21 left all 1:46:23 12.34 steps/s loss 0.8312 labeled 0.5123"
    allowed += " pseudo 1.234 learning_rate 0.001"
    assert not {word for word in words if set(word) - set("\u2501\u2578\u257a")} - set(allowed.split())
    assert all(len(line) <= width for line in lines)


def test_remarks_on_a_terminal_break_between_words():
    reporter, stream = Reporter(), io.StringIO()
    reporter.console = Console(file=stream, force_terminal=True, width=30, legacy_windows=False)
    remark = "note: a remark that does not fit a line of thirty columns"
    reporter.say(remark)
    assert stream.getvalue().split() == remark.split()
    assert all(len(line) <= 30 for line in stream.getvalue().splitlines())
