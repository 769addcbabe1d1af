"""Progress in a notebook: one block of output that updates, instead of a block per line. No torch here."""

from __future__ import annotations

import html
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from noisystudent.runtime.terminal import escaped

if TYPE_CHECKING:
    from noisystudent.runtime.progress import Bar

_LINES_KEPT = 200  # of remarks; a block of thousands of lines would slow the notebook
_STYLE = "white-space: pre-wrap; margin: 0; font-size: 90%"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; one that never imported IPython is not asked further."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module else None
    return shell is not None and bool(getattr(shell, "kernel", None))


class NotebookBlock:
    """One output block of a cell: remarks, and below them a bar of the current stage."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._handle: Any = None

    def say(self, message: str) -> None:
        """Adds a remark; the bar disappears until it is shown again."""
        self._lines = [*self._lines, escaped(message)][-_LINES_KEPT:]
        self._update("", "")

    def show(self, bar: Bar, now: float) -> None:
        """Shows a bar below the remarks."""
        text = escaped("  ".join(part for part in [bar.name, *bar.parts(now)] if part), keep="")
        share = min(1.0, bar.done / bar.total) if bar.total else 0.0
        self._update(text, f'<progress value="{share:.4f}" max="1" style="width: 16em"></progress> ')

    def _update(self, text: str, bar: str) -> None:
        remarks = "\n".join(self._lines)
        plain = "\n".join(part for part in (remarks, text) if part)
        block = f'<pre style="{_STYLE}">{html.escape(remarks)}</pre>' if remarks else ""
        line = f"<div>{bar}<code>{html.escape(text)}</code></div>" if text else ""
        content = {"text/plain": plain, "text/html": f"{block}{line}"}
        if self._handle is None:
            self._handle = import_module("IPython.display").display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
