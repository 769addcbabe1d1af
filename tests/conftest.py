"""What every test starts from."""

import os
from collections.abc import Iterator

import pytest

# Tests never reach a hub: a missing weight must be an answer at once, not after retries. Read when timm is imported.
os.environ["HF_HUB_OFFLINE"] = "1"

from fork_server import ForkServer


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """A process with everything imported, which starts commands within milliseconds."""
    with ForkServer() as server:
        yield server
