import os
import signal
import subprocess
import sys

import pytest

from noisystudent.runtime.interruption import Terminated, noted_interruption, raise_on_signals


@pytest.fixture(autouse=True)
def _default_handlers(default_signal_handlers):
    """Commands that other tests call in this process leave their handlers; a shell may have SIGINT ignored."""


def end_late() -> None:
    """Is interrupted and goes on to the end of the block, where nothing looks any more."""
    with noted_interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.is_requested


def end_impatiently() -> None:
    with noted_interruption():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError


def end_where_work_is_kept(number: int) -> None:
    with noted_interruption() as interruption:
        assert not interruption.is_requested
        os.kill(os.getpid(), number)
        assert interruption.is_requested
        interruption.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_and_is_only_noted_where_work_can_be_kept(number):
    raise_on_signals()
    with pytest.raises(Terminated, match=signal.Signals(number).name) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.number == number
    with pytest.raises(Terminated):
        end_where_work_is_kept(number)


@pytest.mark.parametrize("interrupted", [end_late, end_impatiently])
def test_a_second_signal_takes_effect_at_once_and_a_late_one_at_the_end(interrupted):
    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_library_s_user_keeps_their_own_handlers():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with noted_interruption():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    raise_on_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_command_line_ends_with_the_code_of_the_signal():
    code = (
        "import os, signal, sys; from noisystudent.commands import main as m\n"
        "m.COMMANDS['report'] = ('x', lambda parser, rest: os.kill(os.getpid(), signal.SIGTERM))\n"
        "sys.exit(m.main(['report']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        143,
        "noisystudent: stopped by SIGTERM; run the same command again to start over.\n",
    )
