"""Parse YAML as configs use it: no key twice, no nesting or repetition that a person would not write."""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 50  # tables and lists in each other
MOST_VALUES = 100_000  # with those that aliases (*name) repeat


def parse(text: str) -> Any:
    """The value of a YAML document; ValueError says what is wrong, and in which line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:  # of PyYAML, for !!bool maybe
        raise ValueError(f"a value that does not fit its tag ({error})") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands in a table twice, of which YAML would take the last without a word.

    Aliases are counted with all that they stand for: a few lines of them can mean more values than memory holds.
    """

    depth = 0

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            self._count(node, {})
        return node

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refused(f"tables and lists in each other, more than {DEEPEST} of them", self.peek_event().start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise _refused(f"the key '{key.value}' stands there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def _count(self, node: yaml.Node, counted: dict[int, int]) -> int:
        """How many values the node stands for; counted: those that were counted, by `id`, 0 where it goes on."""
        if id(node) in counted:
            if not counted[id(node)]:
                raise _refused("an alias stands for the table or list that it is in", node.start_mark)
            return counted[id(node)]
        counted[id(node)] = 0
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
        counted[id(node)] = 1 + sum(self._count(part, counted) for part in parts)
        if counted[id(node)] > MOST_VALUES:
            raise _refused(f"more than {MOST_VALUES} values, with those that aliases repeat", node.start_mark)
        return counted[id(node)]


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)
