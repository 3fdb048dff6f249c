"""Identity of a stored artefact: what it was made from, part by part.

Composed here only, so that no step can forget a part. A part is a digest; it does not depend on the order of keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from skyfold.errors import DamagedFile
from skyfold.files import digest

# 1: `source` was a digest of the files, comments included. 2: `fit` and `rows` held names, and options that nothing is
# trained on; `init_weights` was '' of ImageNet's too; `source` held the metric of a competition outside skyfold.
VERSION = 3
OF_CONFIG = ("fit", "rows")  # parts that are unknown to a fingerprint of another version on the other side of 3
NOT_APPLICABLE = ""


@dataclass(frozen=True)
class Fingerprint:
    """Parts of an artefact's identity; None: unknown, since the record is older than the part.

    data           samples that are trained on, as the network reads them
    folds          fold of every sample
    fit            config keys that change the weights of a fit
    source         code of the plug-ins that the config names
    init_weights   weights that training starts from ('' where they are random)
    pseudo_labels  teacher of pseudo-labels and what it labelled ('' without one)
    rows           config keys that change stored predictions
    blend          members of a blend or forecast, and how they are combined ('' of a run)
    threads        number of threads that networks compute in, from the first fit on ('' where nothing is trained)

    version: of the rules that the parts were made by; a part that other rules gave is unknown.
    """

    data: str | None = None
    folds: str | None = None
    fit: str | None = None
    source: str | None = None
    init_weights: str | None = None
    pseudo_labels: str | None = None
    rows: str | None = None
    blend: str | None = None
    threads: str | None = None
    version: int = VERSION

    def different(self, other: Fingerprint, *parts: str) -> list[str]:
        """Parts (of `parts`, or all) that both know and that differ; an unknown part is never different.

        >>> Fingerprint(data="a", fit="b").different(Fingerprint(data="c"))
        ['data']
        """
        return [name for name in parts or PARTS if self._differs(other, name)]

    def of(self, *parts: str) -> Fingerprint:
        """These parts only."""
        return Fingerprint(**{name: getattr(self, name) for name in parts}, version=self.version)

    def digest(self) -> str:
        """One digest of all known parts."""
        return digest(*(f"{name}={value}" for name, value in self._known().items()))

    def to_json(self) -> dict[str, Any]:
        """The known parts and the version of their rules."""
        return {"version": self.version, **self._known()}

    def _known(self) -> dict[str, str]:
        return {name: value for name in PARTS if (value := getattr(self, name)) is not None}

    def _differs(self, other: Fingerprint, name: str) -> bool:
        one, two = getattr(self, name), getattr(other, name)
        if None in (one, two):
            return False
        if name in OF_CONFIG and (self.version < 3) != (other.version < 3):
            return False
        if name == "init_weights" and "" in (one, two) and min(self.version, other.version) < 3:
            return False
        if name == "init_weights" and one and two:
            one, two = _files(one), _files(two)
            return not any(name in two for name in one) or any(two.get(name, own) != own for name, own in one.items())
        return bool(one != two)

    @classmethod
    def from_json(cls, values: Any, where: str) -> Fingerprint:
        """What `to_json` gave. DamagedFile, naming the file `where`, for anything else and for a newer version."""
        if not isinstance(values, dict) or not isinstance(values.get("version"), int):
            raise DamagedFile(f"{where}: no fingerprint here. Restore the file from a backup, or make it again.")
        if values["version"] > VERSION:
            raise DamagedFile(
                f"{where}: fingerprint version {values['version']} was written by a newer skyfold; this one reads "
                f"version {VERSION} and older. Update skyfold."
            )
        outdated = {"version", "source"} if values["version"] < 2 else {"version"}
        parts = {name: value for name, value in values.items() if name not in outdated}
        known = set(parts) <= set(PARTS) and all(isinstance(value, str) for value in parts.values())
        if not known or not re.fullmatch(r"(?:[1-9][0-9]{0,3})?", parts.get("threads", "")):
            raise DamagedFile(f"{where}: the fingerprint has unknown parts. Restore the file from a backup.")
        return cls(**parts, version=max(values["version"], 2))


def _files(init_weights: str) -> dict[str, str]:
    """Checksums by name: a run that has more seeds now begins with further files of its source.

    >>> _files("fold0_seed0.weights.h5:1f fold0_seed1.weights.h5:2e")
    {'fold0_seed0.weights.h5': '1f', 'fold0_seed1.weights.h5': '2e'}
    """
    return {name: checksum for name, _, checksum in (one.rpartition(":") for one in init_weights.split())}


PARTS = tuple(field.name for field in fields(Fingerprint) if field.name != "version")
