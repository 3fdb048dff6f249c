"""Images of a folder: found by their paths, of one kind, and opened as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from skyfold.competitions.mask_folder.options import Images
from skyfold.data.check_images import check_images
from skyfold.data.file_patterns import FilePattern, find_files
from skyfold.data.images import COLOURS, SUFFIXES, BandFiles, Header, ImageFiles, read_header
from skyfold.errors import DataLayoutError, Problems
from skyfold.types import IntPair

Sample = tuple[Path, ...]  # the files of an image, one a band where bands are files of their own


@dataclass(frozen=True)
class FolderImages:
    """How images are read. options: paths, bands, and pixels that are no measurement; bands: of each image."""

    options: Images = field(default_factory=Images)
    bands: int = COLOURS

    def of_bands(self, first: Header | None) -> FolderImages:
        """With the number of bands that the options name, or else of the `first` image."""
        return replace(self, bands=len(self.options.bands) or (COLOURS if first is None else first.bands))

    @property
    def pattern(self) -> FilePattern:
        """Of image files below their folder."""
        return FilePattern(self.options.files, SUFFIXES, self.options.bands)

    @property
    def turn(self) -> bool:
        """Whether an EXIF tag turns images."""
        return self.options.orientation != "ignore"

    def find(self, folder: Path, problems: Problems, besides: Sequence[Path] = ()) -> dict[str, Sample]:
        """Files of each image in `folder`, by id; those `besides` are no images."""
        found = find_files(folder, self.pattern, problems, besides=besides)
        samples, bands = {}, self.options.bands or ("",)
        for name, files in found.items():
            missing = [
                f"{folder / self.pattern.example(name, band)}: no file of band '{band}' for image '{name}'"
                for band in bands
                if band not in files
            ]
            problems.add("images without a band", *missing)
            if not missing:
                samples[name] = tuple(files[band] for band in bands)
        return samples

    def headers(self, paths: Sequence[Path], problems: Problems) -> dict[Path, Header]:
        """Of each file that has one; what is wrong with the others is added to `problems`."""
        found = {}
        for path in paths:
            try:
                header = read_header(path)
                found[path] = replace(header, bands=1) if self.options.bands and header.grey else header
            except DataLayoutError as error:
                problems.add_error(error)
        return found

    def size(self, header: Header) -> IntPair:
        """(H, W) as the image is read."""
        return header.size if self.turn else header.stored_size

    def add_unlike(self, headers: Mapping[Path, Header], problems: Problems) -> set[Path]:
        """Add images that differ from the first one in number type or bands, and those that an EXIF tag turns.

        Returns the former.
        """
        unlike: dict[Path, str] = {}
        expected = 1 if self.options.bands else self.bands
        first_path, first = next(iter(headers.items()), (Path(), Header((0, 0))))
        for path, header in headers.items():
            if (header.dtype, header.bands) != (first.dtype, first.bands) or header.bands != expected:
                other = f"{first_path} has {first.kind}" if header.kind != first.kind else f"expected {expected}"
                unlike[path] = f"{path}: {header.kind}, {other}. Bring all to one kind."
        problems.add("images of different kinds", *unlike.values())
        if self.options.orientation is None:
            turned = [
                f"{path}: an EXIF tag turns it (orientation {header.orientation}), and no mask turns with it. Set "
                "images.orientation in data.options: apply where masks were drawn on the turned image, ignore where "
                "they were drawn on the stored pixels."
                for path, header in headers.items()
                if header.turned
            ]
            problems.add("images that an EXIF tag turns", *turned)
        return set(unlike)

    def check(self, paths: Sequence[Path], problems: Problems) -> dict[Path, Header]:
        """Read every file once; headers of those that are whole. As `add_unlike`, which names no broken file."""
        unlike = self.add_unlike(self.headers(paths, Problems()), problems)
        alike = [path for path in paths if path not in unlike]
        bands = 1 if self.options.bands else self.bands
        return check_images(alike, problems, bands=bands, nodata=self.options.nodata, turn=self.turn)

    def open(self, images: Iterable[Sample]) -> ImageFiles | BandFiles:
        """The images as arrays (H, W, bands), decoded when indexed."""
        nodata = self.options.nodata
        if self.options.bands:
            assert nodata != "alpha"
            return BandFiles(list(images), nodata)
        return ImageFiles([files[0] for files in images], self.bands, nodata, self.turn)
