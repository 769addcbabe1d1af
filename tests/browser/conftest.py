"""A browser for the tests of a session, and the pages that they open."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from browser import Browser, missing
from page_states import page_of


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    lacking = missing()
    if lacking:
        pytest.skip(f"{lacking} is not installed: scripts/setup-browser installs it")
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Callable[[str], Path]:
    """The page of a state of ``page_states``, which is written once."""
    return cache(lambda state: page_of(state, tmp_path_factory.mktemp("pages")))
