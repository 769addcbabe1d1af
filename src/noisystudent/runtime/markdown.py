"""Text in Markdown: names of classes and sources can contain characters that format, link or begin HTML."""

from __future__ import annotations

import re

from noisystudent.runtime.terminal import escaped

_FORMATTING = re.compile(r"[\\`*\[\]<>&|~]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word stays one


def in_markdown(text: str) -> str:
    """One line of text that Markdown shows as it is; control and direction characters are written out."""
    return _FORMATTING.sub(r"\\\g<0>", escaped(text, keep=""))
