"""Images and their ground truth as samples, once they fit together; what does not is listed by file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.competition import Truth
from skyfold.competitions.mask_folder.folder_images import FolderImages, Sample
from skyfold.competitions.mask_folder.options import Groups
from skyfold.competitions.mask_folder.truth import MaskImages, TruthFiles
from skyfold.data.file_patterns import FilePattern, find_files
from skyfold.data.folder import file_id, note_others, note_unread, unread
from skyfold.data.images import SUFFIXES, Header, image_paths, read_header
from skyfold.data.segmentation_files import SegmentationFiles, read_each, spelled
from skyfold.errors import ConfigError, DataLayoutError, InvalidSubmission, Problems, listing, shortened
from skyfold.progress import note
from skyfold.submission.formats import read_table
from skyfold.types import ArraySequence, Grid, IntPair, Samples


@dataclass(frozen=True)
class ImagesAndMasks(SegmentationFiles):
    """Folders of images, and their ground truth.

    truth        where masks come from
    folders      pairs of a folder of images and one of masks, whose samples are trained on
    test_images  the folder of images to predict; None: there are none
    group        the table of groups; None: every image its own
    images       how they are found and read
    unfit        why the grid does not fit all images; they cannot be used then
    """

    truth: TruthFiles
    folders: tuple[tuple[str, str], ...] = (("images", "masks"),)
    test_images: str | None = None
    group: Groups | None = None
    images: FolderImages = field(default_factory=FolderImages)
    unfit: str = ""

    def fitted(self, folder: Path, *, sized: bool) -> ImagesAndMasks:
        """With the bands of the first image in `folder`; if `sized`, on a grid of the size that all images share, or,
        without a grid, with the size of each."""
        headers: dict[Path, Header] = {}
        for files in self._find_images(folder, *self.folders[0], Problems()).values():
            with suppress(DataLayoutError):  # `check` names the file
                headers[files[0]] = read_header(files[0])
                if not sized:
                    break
        first = next(iter(headers.items()), None)
        images = self.images.of_bands(first and first[1])
        if not sized:
            return replace(self, images=images)
        if self._grid is None:
            return replace(self, submission=replace(self.submission, sizes=self._all_sizes(folder)), images=images)
        if first is None:
            unfit = (
                f"{folder / self.folders[0][0]}: no image whose size could be that of the grid. Set "
                "data.options.grid: [rows, columns]."
            )
            return replace(self, unfit=unfit)
        size, unfit = images.size(first[1]), ""
        if other := next((path for path, header in headers.items() if images.size(header) != size), None):
            unfit = (
                f"{first[0]} has {spelled(size)} pixels, {other} {spelled(images.size(headers[other]))}. Set grid: "
                "[rows, columns] in data.options; images and masks are brought to it. Or set grid: own; each mask is "
                "then stored, scored and submitted on the size of its image."
            )
        return replace(self, submission=replace(self.submission, shape=size), images=images, unfit=unfit)

    @property
    def _grid(self) -> Grid:
        return self.submission.shape if self.submission.sizes is None else None

    def _all_sizes(self, folder: Path) -> dict[str, IntPair]:
        """(H, W) of every image, by id; those of broken files are left out."""
        found: dict[str, Sample] = {}
        for images, masks in self.folders:
            found |= self._find_images(folder, images, masks, Problems())
        if self.test_images is not None:
            found |= self._find_images(folder, self.test_images, None, Problems())
        headers = self.images.headers([files[0] for files in found.values()], Problems())
        return {name: self.images.size(headers[files[0]]) for name, files in found.items() if files[0] in headers}

    def load(self, folder: Path, part: str) -> Samples:
        """Samples by file name: inputs (H, W, C) of any size, targets uint8 0/1 (H, W, K) on the grid.

        The id is the file name without suffix, or what stands for {id} in it. DataLayoutError lists images and masks
        without each other, of unequal sizes, number types, bands, or of one id; images that an EXIF tag turns, where
        the config does not say whether masks turn with them; and images without a group, where a table of groups is
        set.
        """
        problems = Problems()
        if part == "test":
            images = self._find_tests(folder, problems)
            problems.refuse(folder)
            return self._without_masks(images)
        images, items = self._find_pairs(folder, problems)
        headers = self.images.headers([path for files in images.values() for path in files], problems)
        self.images.add_unlike(headers, problems)
        self._add_unfit(images, items, headers, problems)
        groups = self._groups(folder, list(images), problems)
        problems.refuse(folder)
        sizes = self._sizes(images, headers)
        truth = self.truth.open(list(items.values()), sizes, self._grid)
        inputs, own = self.images.open(images.values()), _array(sizes) if self._grid is None else None
        return Samples(ids=np.array(list(images)), inputs=inputs, groups=groups, sizes=own, **truth)

    def read_images(self, folder: Path) -> Samples:
        problems = Problems()
        images = self.images.find(folder, problems)
        headers = self.images.headers([path for files in images.values() for path in files], problems)
        fitted = replace(self, images=self.images.of_bands(next(iter(headers.values()), None)))
        fitted.images.add_unlike(headers, problems)
        problems.refuse(folder)
        return fitted._without_masks(images)

    def _without_masks(self, images: Mapping[str, Sample]) -> Samples:
        inputs, own = self.images.open(images.values()), None
        if self._grid is None:
            headers = self.images.headers([files[0] for files in images.values()], Problems())
            own = _array(self._sizes(images, headers))
        return Samples(ids=np.array(list(images)), inputs=inputs, sizes=own)

    def check(self, folder: Path) -> str:
        """Read every image and mask; returns counts, and fractions of the classes over all defined pixels.

        DataLayoutError lists, besides the problems of `load`, broken images and mask values of no class.
        """
        problems = Problems()
        images, items = self._find_pairs(folder, problems)
        groups = self._groups(folder, list(images), problems)
        tests = {} if self.test_images is None else self._find_tests(folder, problems)
        paths = [path for files in [*images.values(), *tests.values()] for path in files]
        whole = self.images.check(paths, problems)
        sizes = dict(zip(images, self._sizes(images, whole), strict=True))
        covers = read_each(
            "checking masks", lambda name: self.truth.fractions(items[name], sizes[name]), list(images), problems
        )
        kept = {name: files for name, files in images.items() if name in covers and all(map(whole.get, files))}
        self._add_unfit(kept, items, whole, problems)
        if items:
            self.truth.note_oddities([items[name] for name in images], list(sizes.values()))
        self._note_unread(folder)
        for names in (images, tests):
            _note_capitals(list(names))
        self._note_sizes([files[0] for files in tests.values()], whole)
        problems.refuse(folder)
        fractions = np.array(list(covers.values()))
        self._note_absent(folder, fractions)
        parts = self._summary(fractions)
        if groups is not None:
            parts.append(f"{len(np.unique(groups))} groups")
        if self.test_images is not None:
            parts.append(f"{len(tests)} test images")
        return "; ".join(parts)

    def _summary(self, fractions: np.ndarray) -> list[str]:
        """Counts in words. fractions (n, K + 1): of each class, and of ignored pixels, of each mask."""
        defined = 1 - fractions[:, -1]
        where = "each on its own size" if self._grid is None else f"grid {spelled(self._grid)}"
        parts = [f"{len(fractions)} images with masks, {where}"]
        for name, cover in zip(self.truth.classes, fractions.T, strict=False):
            pixels = cover.sum() / max(defined.sum(), 1e-9)
            parts.append(f"{name} {pixels:.1%} of the pixels, empty {(cover == 0).mean():.0%}")
        return [*parts, f"undefined {1 - defined.mean():.1%}"] if fractions[:, -1].any() else parts

    def _note_absent(self, folder: Path, fractions: np.ndarray) -> None:
        """Say which classes no mask has a pixel of. fractions: as `_summary`."""
        for place, name in enumerate(self.truth.classes):
            if not fractions[:, place].any():
                value = self.truth.named(place)
                note(f"{folder}: no mask has a pixel of class '{name}' (value {value}). Is it the right value?")

    def read_truth(self, path: Path) -> Truth:
        """A folder of masks, of any size, or a table on the grid; with truth.coco also such a file."""
        if self.unfit:
            raise ConfigError(self.unfit)
        if listed := self.truth.listed_in(path):
            items, sizes = zip(*listed.values(), strict=True)
            return Truth(ids=np.array(list(listed)), **self.truth.open(items, sizes, self._grid))
        if not path.is_dir():
            return super().read_truth(path)
        truth, problems = self._mask_images(path), Problems()
        masks = {name: files[""] for name, files in find_files(path, truth.pattern, problems).items()}
        problems.refuse(path)
        note_unread(path, set(masks.values()), depth=truth.pattern.depth, expected=_read_as("masks", truth.pattern))
        arrays = truth.open(list(masks.values()), [self.submission.shape] * len(masks), self._grid)
        return Truth(ids=np.array(list(masks)), **arrays)

    def read_pred(self, path: Path, ids: np.ndarray) -> ArraySequence:
        """A folder of masks, or a table. Masks of one class may also be plain 0 and 255.

        A prediction cannot be undefined: such values count as no class. Masks of other ids are ignored.
        InvalidSubmission lists masks that are missing or of another size than `_predicted_size`.
        """
        if not path.is_dir():
            return super().read_pred(path, ids)
        by_id = {file_id(file): file for file in image_paths(path)}
        note_others(path, SUFFIXES, expected="masks")
        problems = [f"no mask for '{name}'{unread(path, name)}" for name in ids if name not in by_id]
        for name in sorted(set(ids.tolist()) & set(by_id)):
            size, expected = read_header(by_id[name]).size, self._predicted_size(name)
            if expected and size != expected:
                problems.append(f"{by_id[name].name}: {spelled(size)} pixels, expected {spelled(expected)}")
        if problems:
            raise InvalidSubmission(f"{path}: masks are missing or unfit\n{listing(problems)}")
        masks = [by_id[name] for name in ids]
        targets: ArraySequence = self._mask_images(path).of_predictions().open(masks, [], self._grid)["targets"]
        return targets

    def _predicted_size(self, name: str) -> IntPair | None:
        """(H, W) of a predicted mask of the image `name`; None: any."""
        if self.submission.sizes is not None and name not in self.submission.sizes:
            return None
        return self.submission.size_of(name)

    def _mask_images(self, path: Path) -> MaskImages:
        if not isinstance(self.truth, MaskImages):
            columns = ", ".join(self.submission.columns)
            raise ConfigError(f"{path}: mask images have no class table here. Give a table with the columns {columns}.")
        return self.truth

    def _find_images(self, folder: Path, images: str, masks: str | None, problems: Problems) -> dict[str, Sample]:
        """Files of each image in the folder `images`, by id; those of the truth in the same folder are left out."""
        own = folder / images
        beside = masks is not None and own in (folder / masks, *(folder / masks).parents)
        taken = list(self.truth.taken(folder, masks).values()) if masks is not None and beside else []
        return self.images.find(own, problems, besides=taken)

    def _find_tests(self, folder: Path, problems: Problems) -> dict[str, Sample]:
        if self.test_images is None:
            raise DataLayoutError(f"{folder}: no test part. Name its folder in data.options.test_images.")
        return self._find_images(folder, self.test_images, None, problems)

    def _find_pairs(self, folder: Path, problems: Problems) -> tuple[dict[str, Sample], dict[str, Any]]:
        """Images and their items of truth, by id, in the same order; what is wrong with them is added to `problems`."""
        images: dict[str, Sample] = {}
        items: dict[str, Any] = {}
        if self.unfit:
            problems.add("images that give no grid", self.unfit)
        for image_folder, mask_folder in self.folders:
            some = self._find_images(folder, image_folder, mask_folder, problems)
            theirs = self.truth.find(folder, mask_folder, {name: files[0] for name, files in some.items()}, problems)
            twice = [f"id '{name}' is in 2 folders; rename it" for name in theirs if name in images]
            problems.add("files of one id", *twice)
            images |= {name: some[name] for name in theirs}
            items |= theirs
        return images, items

    def _add_unfit(
        self,
        images: Mapping[str, Sample],
        items: Mapping[str, Any],
        headers: Mapping[Path, Header],
        problems: Problems,
    ) -> None:
        """Add images to `problems` whose size is not that of their mask, and masks that an EXIF tag turns."""
        for name, files in images.items():
            if files[0] not in headers:
                continue
            try:
                if misfit := self.truth.misfit(items[name], headers[files[0]], self.images.turn):
                    problems.add("images and masks of unequal size", f"{files[0]}: {misfit}")
            except DataLayoutError as error:
                problems.add_error(error)

    def _sizes(self, images: Mapping[str, Sample], headers: Mapping[Path, Header]) -> list[IntPair]:
        """(H, W) of each image; the grid where its header is not known."""
        known = (headers.get(files[0]) for files in images.values())
        return [self.submission.shape if header is None else self.images.size(header) for header in known]

    def _groups(self, folder: Path, names: Sequence[str], problems: Problems) -> np.ndarray | None:
        """Group of each image in the table of groups; None where there is none."""
        if self.group is None:
            return None
        path = folder / self.group.file
        try:
            table = read_table(path, (self.group.id, self.group.column), refuse=DataLayoutError)
        except DataLayoutError as error:
            problems.add("tables that cannot be read", str(error))
            return None
        known = set(names)  # a table may also give the names of files
        names_of = [name if name in known else file_id(Path(name)) for name in table[self.group.id]]
        rows = Counter(names_of)
        group_of = dict(zip(names_of, table[self.group.column], strict=True))
        found = [f"id '{name}' is listed {rows[name]} times; keep one row" for name in names if rows[name] > 1]
        found += [f"no group for image '{name}'. Add one" for name in names if not group_of.get(name)]
        problems.add(f"rows of {path}, where every image needs one group", *found)
        return np.array([group_of.get(name, "") for name in names])

    def _note_unread(self, folder: Path) -> None:
        """Say what lies in the folders besides images and masks."""
        depths: dict[str, int] = {}
        taken: set[Path] = set()
        for images, masks in [*self.folders, *([] if self.test_images is None else [(self.test_images, None)])]:
            depths[images] = max(depths.get(images, 1), self.images.pattern.depth)
            found = find_files(folder / images, self.images.pattern, Problems()).values()
            taken.update(path for files in found for path in files.values())
            if masks is not None:
                taken.update(self.truth.taken(folder, masks).values())
                for name, depth in self.truth.folders(masks).items():
                    depths[name] = max(depths.get(name, 1), depth)
        holders = {self.test_images, *(images for images, _ in self.folders)}
        for name, depth in depths.items():
            read = _read_as("images", self.images.pattern) if name in holders else "all else is read as ground truth"
            note_unread(folder / name, taken, depth=depth, expected=read)

    def _note_sizes(self, tests: Sequence[Path], headers: Mapping[Path, Header]) -> None:
        """Say which test images have another size than most: their masks are on the grid like all others."""
        sizes = {path: self.images.size(headers[path]) for path in tests if path in headers}
        if self._grid is None or self.unfit:
            return
        usual = max(Counter(sizes.values()).items(), key=lambda item: item[1], default=((0, 0), 0))[0]
        if odd := [f"{path.name} ({spelled(size)})" for path, size in sizes.items() if size != usual]:
            note(
                f"{tests[0].parent}: {len(odd)} of {len(tests)} test images are not {spelled(usual)} like most: "
                f"{shortened(odd)}. Their masks are submitted on the grid of {spelled(self.submission.shape)}, too."
            )


def _array(sizes: list[IntPair]) -> np.ndarray:
    return np.array(sizes, dtype=np.int64).reshape(-1, 2)


def _read_as(what: str, pattern: FilePattern) -> str:
    named = "" if pattern.text == "{id}" else f"{pattern.text}, "
    return f"read as {what} are {named}{', '.join(pattern.suffixes)}"


def _note_capitals(names: Sequence[str]) -> None:
    """Say which ids differ only in capitals: other systems hold one file of that name."""
    first: dict[str, str] = {}
    same = [f"'{name}' and '{first[key]}'" for name in names if first.setdefault(key := name.casefold(), name) != name]
    if same:
        note(f"ids that differ only in capitals: {shortened(same)}. Some file systems and programs take them for one.")
