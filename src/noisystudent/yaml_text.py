"""Reads YAML that anyone may have written: bounded before it costs anything, and nothing in it is lost.

Beyond PyYAML's safe loader: a name that stands twice in a mapping is an error, aliases may not multiply the text or
refer to themselves, nesting and length are bounded, and dates stay text.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_CHARACTERS = 2**18
MAX_DEPTH = 20
MAX_VALUES = 20_000
_LARGEST_WHOLE_NUMBER = 2**63


class YamlTextError(ValueError):
    """Text is not YAML, or says the same name twice, or is too large, too deep or too long."""


class _BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe loader with bounds on depth and number of values."""

    depth = values = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Composes a node as PyYAML does, unless the text is too deep or has too many values."""
        self.depth, self.values = self.depth + 1, self.values + 1
        if self.depth > MAX_DEPTH:
            raise YamlTextError(f"it is nested more than {MAX_DEPTH} levels deep")
        if self.values > MAX_VALUES:
            raise YamlTextError(f"it has more than {MAX_VALUES:,} values")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_whole_number(self, node: ScalarNode) -> int:
        """A whole number of at most 63 bits, so that it can be compared, stored and shown."""
        text = self.construct_scalar(node)
        value = int(self.construct_yaml_int(node)) if len(text) < 100 else _LARGEST_WHOLE_NUMBER
        if abs(value) >= _LARGEST_WHOLE_NUMBER:
            raise YamlTextError(f"the number {text[:20]}... of {len(text):,} characters is too large")
        return value


_BoundedLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_BoundedLoader.add_constructor("tag:yaml.org,2002:int", _BoundedLoader.construct_whole_number)


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - whatever YAML can say
    """The value of a YAML text.

    Args:
        text: One YAML document.

    Raises:
        YamlTextError: The text is not YAML, or is outside the bounds of this module.
    """
    if len(text) > MAX_CHARACTERS:
        raise YamlTextError(f"it has more than {MAX_CHARACTERS:,} characters")
    try:
        loader = _BoundedLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count_values(node, {}, ())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise YamlTextError(f"it is not YAML: {' '.join(str(error).split())}") from None
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        # PyYAML's constructors fail in these ways for values with a tag that they do not have, as in !!bool maybe.
        raise YamlTextError(f"a value does not fit its tag ({type(error).__name__}: {error})") from None
    except ValueError as error:
        raise YamlTextError(str(error)) from None


def _count_values(node: Node, counts: dict[int, int], parents: tuple[int, ...]) -> int:
    """The number of values of a node with its aliases written out; checks the names of mappings on the way."""
    if id(node) in parents:
        raise YamlTextError(f"the value in line {node.start_mark.line + 1} contains itself by an alias")
    if id(node) in counts:
        return counts[id(node)]
    children: list[Node] = []
    if isinstance(node, SequenceNode):
        children = node.value
    elif isinstance(node, MappingNode):
        _refuse_duplicates(node)
        children = [part for pair in node.value for part in pair]
    total = 1 + sum(_count_values(child, counts, (*parents, id(node))) for child in children)
    if total > MAX_VALUES:
        raise YamlTextError(f"it has more than {MAX_VALUES:,} values once its aliases are written out")
    counts[id(node)] = total
    return total


def _refuse_duplicates(node: MappingNode) -> None:
    lines: dict[Hashable, int] = {}
    for name, _ in node.value:
        if not isinstance(name, ScalarNode):
            continue
        line = name.start_mark.line + 1
        if (name.tag, name.value) in lines:
            first = lines[name.tag, name.value]
            raise YamlTextError(f"{name.value!r} stands twice, in lines {first} and {line}; write it once")
        lines[name.tag, name.value] = line
