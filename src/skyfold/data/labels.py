"""Labels of annotations and tables, and the classes that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skyfold.errors import ConfigError


@dataclass(frozen=True)
class LabelTable:
    """classes: names, in the order of the last axis of targets; places: of the class of each label; left_out: labels of
    no class."""

    classes: tuple[str, ...]
    places: Mapping[str, int]
    left_out: frozenset[str]

    @classmethod
    def parse(cls, classes: Any, background: Any) -> LabelTable:
        """From a config: {name: label or list of labels}, and labels of no class. ConfigError where they conflict.

        >>> LabelTable.parse({"cloud": ["cu", 7]}, background=0).places
        {'cu': 0, '7': 0}
        """
        if not isinstance(classes, Mapping) or not classes or not all(isinstance(name, str) for name in classes):
            raise ConfigError(
                f"data.options.classes: expected names and their labels such as {{cloud: cloud}}, got {classes!r}."
            )
        places: dict[str, int] = {}
        left_out = frozenset(map(str, _listed(background)))
        for place, (name, labels) in enumerate(classes.items()):
            if not _listed(labels) or not all(isinstance(label, str | int) for label in _listed(labels)):
                raise ConfigError(f"data.options.classes: '{name}': expected a label or a list of labels.")
            for label in map(str, _listed(labels)):
                if label in left_out or places.setdefault(label, place) != place:
                    owner = "background" if label in left_out else f"class '{list(classes)[places[label]]}'"
                    raise ConfigError(f"data.options.classes: label '{label}' belongs to both '{name}' and {owner}.")
        return cls(tuple(classes), places, left_out)

    def spelled(self, place: int) -> str:
        """Labels of a class, as in a config."""
        return " or ".join(label for label, own in self.places.items() if own == place)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
