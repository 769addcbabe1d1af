"""What every test starts from."""

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

# Tests never reach a hub: a missing weight must be an answer at once, not after retries. Read when timm is imported.
os.environ["HF_HUB_OFFLINE"] = "1"

from fork_server import ForkServer

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("any-speed", hypothesis.settings.get_profile("default"), deadline=None)
if "CI" not in os.environ:  # there, Hypothesis has no deadline, and draws the same examples each time
    hypothesis.settings.load_profile("any-speed")


@pytest.fixture
def default_signal_handlers() -> Iterator[None]:
    """Python's own handlers of the signals that stop a process, whatever this process has inherited."""
    defaults = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """A process with everything imported, which starts commands within milliseconds."""
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="module")
def feature_cache(tmp_path_factory):
    """An empty user's cache, in which the tests of a module share features of images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
