"""What the samples of a data set hold, by sample, and whether that is still what a run, blend or study was made from.

Digests are of the bytes of files, not of their names, places and times, so that a data set that was copied or moved
stays the same. They are kept beside the results, in `contents.json`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from skyfold.errors import OofMismatch, shortened
from skyfold.store.records import ContentsRecord, read_record, write_record

FILE = "contents.json"
_READ: dict[bytes, Contents] = {}  # the record that was read last, by the bytes of its file
WHAT = {"inputs": "image", "targets": "mask"}


@dataclass(frozen=True)
class PartContents:
    """Digests of the samples of one part: inputs and targets by id, no targets where they are unknown.

    names: of the files they were read from, by id, for messages; not stored.
    """

    inputs: Mapping[str, str]
    targets: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def without(self, ids: Collection[str]) -> PartContents:
        """These, without the samples `ids`."""
        inputs, targets = (
            {name: own for name, own in of.items() if name not in ids} for of in (self.inputs, self.targets)
        )
        return replace(self, inputs=inputs, targets=targets)

    def _of_a_series_before(self, now: PartContents) -> bool:
        """Whether an older version recorded one checksum for all frames of a series, which have their own now."""
        pairs = ((self.inputs, now.inputs), (self.targets, now.targets))
        return all(
            len(before) > 1
            and len({*before.values()}) == 1
            and before.keys() <= after.keys()
            and len({*after.values()}) == len(after)
            for before, after in pairs
        )

    def changes(self, now: PartContents) -> list[str]:
        """How `now` differs from these, in words, one entry a sample."""
        found = []
        series = self._of_a_series_before(now)
        for of, kind in WHAT.items():
            before, after = getattr(self, of), getattr(now, of)
            if series or before == after:
                continue
            shared = len(before) > 1 and len({*before.values()}) == 1 == len({*after.values()})
            if shared and {*before.values()} != {*after.values()}:  # they were read from one file, or as a series
                found.append(f"something in the {len(after)} {kind}s changed (they have one checksum)")
            for name in sorted(before.keys() ^ after.keys() if shared else {*before, *after}):
                if before.get(name) != after.get(name):
                    file = now.names.get(of, {}).get(name, f"of '{name}'")
                    event = "was added" if name not in before else "was removed" if name not in after else "changed"
                    found.append(f"{kind} {file} {event}")
        return found


@dataclass(frozen=True)
class Contents:
    """Contents by part, "train" and, where the data set has one, "test"."""

    parts: Mapping[str, PartContents]

    def changes(self, now: Contents) -> list[str]:
        """How `now` differs in the parts that both know."""
        return [
            change if part == "train" else f"{part} {change}"
            for part, own in self.parts.items()
            if part in now.parts
            for change in own.changes(now.parts[part])
        ]

    def of(self, *parts: str) -> Contents:
        """These parts only, as far as they are known."""
        return Contents({part: own for part, own in self.parts.items() if part in parts})

    def record(self, folder: Path) -> None:
        """Write the parts into `contents.json` of `folder`; other parts that stand there are kept."""
        before = read_contents(folder)
        if before is not None and self.parts.keys() <= before.parts.keys() and not before.changes(self):
            return
        parts = {**(before.parts if before else {}), **self.parts}
        stored = {part: {of: dict(getattr(own, of)) for of in WHAT} for part, own in parts.items()}
        write_record(folder / FILE, {"parts": stored})


def read_contents(folder: Path) -> Contents | None:
    """What `Contents.record` wrote; None where nothing was recorded. DamagedFile where the file was edited."""
    path = folder / FILE
    if not path.is_file():
        return None
    text = path.read_bytes()
    found = _READ.get(text)  # entries of a data set have the same contents
    if found is None:
        back = "Restore it from a backup."
        remedy = f"{back} Or delete {path}: skyfold train (skyfold blend of a blend) writes it again."
        parts = read_record(path, ContentsRecord, remedy=remedy)["parts"]
        found = Contents({part: PartContents(**own) for part, own in parts.items()})
        _READ.clear()
        _READ[text] = found
    return found


def require_run_of(
    now: Contents, folder: Path, name: str, *, imported: bool = False, later: Collection[str] = ()
) -> None:
    """OofMismatch unless the run `name` in `folder` was trained on, and predicted, what the data hold now.

    imported: whether it was imported; later: ids of samples that may have been added since.
    """
    back = "Or bring the data back to what they were."
    again = f"Import it again: skyfold import {name}. {back}"
    require_unchanged(
        folder,
        now.of("train"),
        since=f"run '{name}' was {'imported' if imported else 'trained'}",
        remedy=again if imported else f"Train it again: skyfold train CONFIG --restart. {back}",
        later=later,
    )
    require_unchanged(
        folder,
        now.of("test"),
        since=f"run '{name}' {'was imported' if imported else 'predicted the test images'}",
        remedy=again if imported else f"Predict them again: skyfold train CONFIG. {back}",
    )


def require_unchanged(folder: Path, now: Contents, *, since: str, remedy: str, later: Collection[str] = ()) -> None:
    """OofMismatch that names what changed `since` ("run 'unet' was trained") the contents in `folder` were recorded.

    remedy: what to do; later: ids of training samples that may have been added since. Nothing is said of a folder
    without a record, which an older version made.
    """
    before = read_contents(folder)
    if before is not None and later and "train" in now.parts and "train" in before.parts:
        known = before.parts["train"].inputs
        kept = now.parts["train"].without({name for name in later if name not in known})
        now = Contents({**now.parts, "train": kept})
    if before is not None and (changes := before.changes(now)):
        raise OofMismatch(f"{shortened(changes)} since {since}. {remedy}")
