"""The docs use the field's words, their links resolve, and what they name exists; each test lists every offender."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import noisystudent

ROOT = Path(__file__).parents[2]
SOURCE = Path(noisystudent.__file__).parent
PAGES = tuple(
    sorted(
        path.relative_to(ROOT).as_posix()
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md"))
    )
)

UNITS = "(class|image|picture|row|step|stage|round|epoch|run|second|batch|worker|device|part|shard)"
OLD_WORDS = {
    r"pictures?": "image",
    r"piles?": "unlabeled set, unlabeled images",
    r"verbs?": "command",
    r"(?<!some )rooms?(?! for)": "section, package",
    r"lessons?": "train spec",
    r"tutors?": "teacher",
    r"contenders?": "evaluated model",
    r"workshops?": "run context",
    r"image passes": "samples seen",
    r"told": "given, reported",
    r"hangs? on": "depends on",
    r"(is|are) to be": "must be",
    r"(one's|whose) own": "your own, separate",
    r"nobody": "no ...",
    rf"(labels|images|rows|samples|bytes|steps|batches|seconds|ms|once|twice|times|\d) an? {UNITS}(?! of)": "per",
}
PATTERN = re.compile("|".join(rf"(?P<w{i}>\b{word}\b)" for i, word in enumerate(OLD_WORDS)), re.IGNORECASE)

# Passages that name an old word on purpose.
ALLOWED = {
    "docs/sources.md": ["`img`, `picture`"],  # a column name in other people's files
    "src/noisystudent/data/sources/parquet.py": ["``picture``"],
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@functools.cache
def prose_of_source() -> dict[str, list[tuple[int, str]]]:
    """Docstrings, messages, help texts and comments by file, with line numbers.

    The values in f-strings are left out. Strings without a space are keys and names, not prose.
    """
    prose: dict[str, list[tuple[int, str]]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = enumerate(text.splitlines(), start=1)
        strings = [(number, comment) for number, line in lines for comment in re.findall(r"(?:^|\s)# .*", line)]
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                strings.append((node.lineno, "".join(map(str, parts))))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.append((node.lineno, node.value))
        prose[path.relative_to(ROOT).as_posix()] = [(line, text) for line, text in strings if " " in text]
    return prose


def old_words(name: str, text: str) -> Iterator[str]:
    """Every old word in a text, with what surrounds it and the word to use instead."""
    for allowed in ALLOWED.get(name, []):
        text = text.replace(allowed, "")
    for match in PATTERN.finditer(text):
        better = list(OLD_WORDS.values())[int(str(match.lastgroup)[1:])] if match.lastgroup else ""
        shown = " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())
        yield f"{name}: '{match[0]}' ({better}) in '... {shown} ...'"


@pytest.mark.parametrize("page", PAGES)
def test_pages_use_the_words_of_the_field(page):
    text = text_of(page)
    if page == "CHANGELOG.md":
        text = re.sub(r"### Renamed\n.*?(?=\n##)", "", text, flags=re.DOTALL)
    offenders = list(old_words(page, text))
    assert not offenders, "\n".join(offenders)


def test_docstrings_messages_help_and_comments_use_the_words_of_the_field():
    offenders = [
        f"{offender} (line {line})"
        for name, strings in prose_of_source().items()
        for line, text in strings
        for offender in old_words(name, text)
    ]
    assert not offenders, "\n".join(offenders)


def test_page_templates_and_recipes_use_the_words_of_the_field():
    paths = sorted([*SOURCE.rglob("*.html"), *SOURCE.rglob("*.yaml"), *(ROOT / "configs").rglob("*.yaml")])
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    assert names
    offenders = [offender for name in names for offender in old_words(name, text_of(name))]
    assert not offenders, "\n".join(offenders)


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_resolves():
    broken = []
    for page in PAGES:
        text = re.sub(r"```.*?```|`[^`]*`", "", text_of(page), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"https?:", target):
                continue
            file, _, anchor = target.partition("#")
            path = (ROOT / page).parent / file if file else ROOT / page
            if not path.exists() or (anchor and anchor not in anchors_of(path.read_text(encoding="utf-8"))):
                broken.append(f"{page}: {target}")
    assert not broken, "\n".join(broken)


def test_the_index_and_the_readme_link_to_every_page():
    docs = [page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")]
    linked = re.findall(r"\]\(([^)\s]+)\)", text_of("docs/index.md"))
    assert [name for name in docs if name not in (*linked, "index.md")] == []
    assert "(docs/index.md)" in text_of("README.md")


def test_every_public_name_is_documented():
    code = re.findall(r"`([^`\n]+)`", "\n".join(text_of(page) for page in PAGES if page != "CHANGELOG.md"))
    named = {word for text in code for word in re.findall(r"\w+", text)}
    assert [name for name in noisystudent.__all__ if name not in named] == []


def table_below(page: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, without its head."""
    section = text_of(page).split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def names_defined_in(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_a_stranger_finds_the_answers_where_the_docs_say():
    rows = table_below("docs/architecture.md", "Where is it?")
    assert len(rows) == 13
    for question, file, name in rows:
        path = SOURCE / file.strip("`")
        assert path.exists(), question
        assert name.strip("`") in names_defined_in(path), question


def test_the_layout_names_every_package():
    named = set(re.findall(r"`([\w/.]+)`", " ".join(row[0] for row in table_below("docs/architecture.md", "Layout"))))
    there = {f"{path.name}/" for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    there |= {path.name for path in SOURCE.glob("*.py") if not path.name.startswith("__")}
    assert sorted(named) == sorted(there)


def setting_names(model: type, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from setting_names(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_setting_that_the_docs_name_exists():
    from noisystudent.run_settings import RunSettings

    known = set(setting_names(RunSettings))
    sections = {name.split(".")[0] for name in known if "." in name}
    known |= {name.rpartition(".")[0] for name in known if name.count(".") > 1}  # sections within sections
    named = re.compile(rf"(?<![\w./])(?:--)?((?:{'|'.join(sorted(sections))})(?:\.[a-z][a-z_]*)+)\b(?!\.\w)(?!\()")
    unknown = []
    for page in PAGES:
        text = re.sub(r"### Renamed\n.*?(?=\n##)", "", text_of(page), flags=re.DOTALL)
        code = "\n".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))
        files = (".npz", ".png", ".safetensors", ".onnx")
        names = [name for name in named.findall(code) if not name.endswith(files)]
        unknown += [f"{page}: {name}" for name in names if name not in known]
    assert not unknown, "\n".join(unknown)
