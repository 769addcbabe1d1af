"""Parses the pages of this program, for tests of their content."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}
INJECTION = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """Checks that every tag is closed in order, and collects tags and the text of each section."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: dict[str, str] = {}
        self.section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"duplicate attribute in {tag} {attributes}"
        self.tags.append((tag, dict(attributes)))
        if tag in ("section", "header"):
            self.section = dict(attributes)["id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words[self.section] = self.words.get(self.section, "") + " " + " ".join(data.split())

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]


def section_text(page: Page, section: str) -> str:
    return " ".join(page.words[section].split())
