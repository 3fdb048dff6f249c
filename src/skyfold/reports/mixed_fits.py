"""Differences in what the fits of one run were made with: versions, backend, device, threads, commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skyfold.errors import shortened
from skyfold.store.fits import read_environments

SHOWN_DIGITS = 10  # of a commit


def mixed_fits(name: str, folder: Path) -> str:
    """A line such as "run 'unet': fold 2 was trained with keras 3.14.0, the others with 3.15.0", of the run `name`,
    whose fits are in `folder`; '' where none differs from the others. Fits of older versions, which recorded nothing,
    are left out. DamagedFile where a record is damaged."""
    environments = read_environments(folder)
    one_seed = len({fit.partition(", ")[2] for fit in environments}) == 1
    made = {
        fit.partition(", ")[0] if one_seed else fit.replace(",", ""): _flat(environment)
        for fit, environment in environments.items()
    }
    found = []
    for key in sorted({key for values in made.values() for key in values}):
        by_fit = {fit: values[key] for fit, values in made.items() if key in values}
        (usual, _), *others = Counter(by_fit.values()).most_common()
        for value in [value for value, _ in others]:
            fits = [fit for fit, own in by_fit.items() if own == value]
            were = "was" if len(fits) == 1 else "were"
            found.append(f"{shortened(fits)} {were} trained with {key} {value}, the others with {usual}")
    return f"run '{name}': {'; '.join(found)}" if found else ""


def _flat(environment: Mapping[str, Any]) -> dict[str, str]:
    """Texts by name; what is not known is left out."""
    values = {**environment, **environment["versions"], "commit": (environment["commit"] or "")[:SHOWN_DIGITS]}
    return {key: str(value) for key, value in values.items() if key != "versions" and value not in (None, "")}
