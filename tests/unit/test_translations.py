"""Pages in Traditional Chinese hold what the English ones hold: code, images, sections and links."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAIRS = {"README.md": "README.zh-TW.md"} | {
    page.relative_to(ROOT).as_posix(): f"docs/zh-TW/{page.name}" for page in sorted((ROOT / "docs/start").glob("*.md"))
}
# Terms of the mainland, and the terms of Taiwan.
MAINLAND = {
    "标签": "標籤",
    "数据": "資料",
    "數據": "資料",
    "圖像": "影像",
    "文件夾": "資料夾",
    "默認": "預設",
    "網絡": "網路",
    "代碼": "程式碼",
    "噪聲": "雜訊",
    "魯棒": "穩健",
    "內存": "記憶體",
    "偽標註": "偽標籤",
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[str]:
    return re.findall(r"^```.*?^```", text_of(page), re.MULTILINE | re.DOTALL)


def prose_of(page: str) -> str:
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def resolved_links(page: str) -> set[str]:
    """What a page links to, from the root of the repository; pages that are translated count as their originals."""
    original = {translated: page for page, translated in PAIRS.items()}
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", prose_of(page))
    paths = {link if "://" in link else (ROOT / page).parent.joinpath(link).resolve() for link in links}
    named = {path if isinstance(path, str) else path.relative_to(ROOT.resolve()).as_posix() for path in paths}
    return {original.get(name, name) for name in named}


@pytest.mark.parametrize("page", PAIRS)
def test_both_pages_have_the_same_commands_and_code(page):
    assert blocks_of(PAIRS[page]) == blocks_of(page)
    assert blocks_of(page)


@pytest.mark.parametrize("page", PAIRS)
def test_both_pages_have_the_same_sections_and_images(page):
    for pattern in (r"^#+ ", r"^!\[.*\]\((.+)\)$"):
        both = [re.findall(pattern, prose_of(name), re.MULTILINE) for name in (page, PAIRS[page])]
        assert both[0] == both[1]


def test_the_readmes_link_to_the_same_pages():
    both = [resolved_links(name) - {"README.md"} for name in ("README.md", "README.zh-TW.md")]
    assert both[0] ^ both[1] == {"docs/how-to/no-clear-gain.md"}  # on the first screen of the English one alone


@pytest.mark.parametrize("page", PAIRS)
def test_the_terms_are_those_of_taiwan(page):
    text = prose_of(PAIRS[page])
    for wrong, right in MAINLAND.items():
        assert wrong not in text, f"{wrong}: {right}"
    assert "未標註影像" in text or page.endswith("notebook.md")
