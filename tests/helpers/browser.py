"""Chromium without a window, as the tests of the pages see it: a page is opened, used, and asked what it shows."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

FOLDER = Path(__file__).parents[1] / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """The path of an installed Chromium."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def missing() -> str:
    """What the tests need and this machine lacks; empty where it has all."""
    if not executable():
        return "Chromium"
    if not shutil.which("node"):
        return "Node.js"
    return "" if (FOLDER / "node_modules" / "playwright-core").is_dir() else "playwright-core"


class Browser:
    """One browser for many pages; a page that is opened closes the one before."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", str(FOLDER / "browser.mjs"), str(executable())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _send(self, command: str, **values: object) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"command": command, **values}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser has ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def open(
        self, page: Path, width: int = 1280, height: int = 800, *, scheme: str = "light", scripts: bool = True
    ) -> None:
        """Opens a page in a window of this size in pixels, light or dark."""
        self._send("open", path=str(page), width=width, height=height, scheme=scheme, scripts=scripts)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self._send("evaluate", script=script)

    def text(self, selector: str) -> str:
        """The text that the first element shows, with single spaces and without signs of direction."""
        shown = self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        return " ".join(re.sub("[\u2066-\u2069]", "", shown).split())

    def click(self, selector: str) -> None:
        """Clicks the first element, which must be visible."""
        self._send("click", selector=selector)

    def press(self, key: str) -> None:
        """Presses and releases a key, such as ``Enter``."""
        self._send("press", key=key)

    def move(self, x: float, y: float) -> None:
        """Moves the mouse to a point of the window, in pixels."""
        self._send("move", x=x, y=y)

    def fill(self, selector: str, value: str) -> None:
        """Sets a field or a slider as a person does."""
        self._send("fill", selector=selector, value=value)

    def unfold(self) -> None:
        """Opens everything that is folded."""
        self.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")

    def problems(self) -> list[str]:
        """Errors on the console and requests beyond the page since it was opened."""
        found: list[str] = self._send("problems")
        return found

    def axe(self) -> list[str]:
        """What axe-core finds wrong with the page as it is shown."""
        found: list[str] = self._send("axe")
        return found

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        width: int = self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width

    def sheets(self, pdf: Path) -> int:
        """The number of sheets of paper that the page takes."""
        count: int = self._send("print", path=str(pdf))
        return count

    def screenshot(self, image: Path, *, whole: bool = False) -> None:
        """Writes what the window shows, or the whole page, as PNG."""
        self._send("screenshot", path=str(image), whole=whole)
