"""Options that say where images, masks and other ground truth lie, and how they are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from skyfold.config.fields import Distinct, Strict, Text, refuse
from skyfold.config.options import one_of
from skyfold.data.file_patterns import refuse_pattern
from skyfold.data.number_types import MOST_BANDS
from skyfold.rle.codec import DIALECTS


class Groups(Strict):
    """Which samples belong together. file: a CSV file in the folder; id, column: its columns of ids and of groups."""

    file: Text
    id: Text
    column: Text


class Images(Strict):
    """Where images lie, and how they are read.

    folder       of the images to train on
    files        path of an image below its folder: {id} is its id, * any name, without a suffix any kind of image.
                 "*/{id}.tif", for instance, are the files of all sub-folders
    bands        names of bands that are files of their own, for {band} in `files`: "{id}/{band}.tif"
    nodata       value of pixels without a measurement, besides that of the tag of a TIFF and values that are not
                 finite; "alpha": pixels that are transparent
    orientation  of images with an EXIF tag: "apply" turns them, where masks were drawn on the turned image, "ignore"
                 does not; such images are refused where it is not said
    """

    folder: Text = "images"
    files: Text = "{id}"
    bands: Annotated[tuple[Text, ...], Distinct, Field(max_length=MOST_BANDS)] = ()
    nodata: float | Literal["alpha"] | None = None
    orientation: Literal["apply", "ignore"] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Images:
        refuse_pattern(self.files, bands=bool(self.bands))
        refuse(
            (self.bands and self.nodata == "alpha", "nodata alpha is not for bands that are files of their own"),
            (self.bands and self.orientation, "orientation is not for bands that are files of their own"),
        )
        return self


class Masks(Strict):
    """Where mask images lie. Files of that path are no images, where the folder is the same.

    folder, files  as of `Images`
    annotators     names for {annotator} in `files`, of people who drew masks of every image: a pixel is of the class
                   that more than half of them chose
    fractions      whether files hold fractions of the classes, one band each: 0 to 1, or whole numbers up to the
                   greatest of their type; a pixel is of a class whose fraction is more than one half
    """

    folder: Text = "masks"
    files: Text = "{id}"
    annotators: Annotated[tuple[Text, ...], Distinct] = ()
    fractions: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Masks:
        refuse_pattern(self.files, bands=bool(self.annotators), placeholder="{annotator}")
        refuse((self.annotators and self.fractions, "fractions are of one file an image, without annotators"))
        return self


class Truth(Strict):
    """Ground truth that is no mask image: one of a table of run-length text, COCO annotations, and polygons.

    csv       a table; id, rle: its columns of image ids (or file names) and of run-length text. Rows of one image and
              class are joined
    category  its column of classes; without it, and with several classes, an id ends in _<class>
    dialect   how its text is written, a name in `skyfold.rle.codec.DIALECTS`
    unlisted  images without a row: "refuse" them, or their masks are "empty"
    coco      a JSON file of COCO annotations: polygons, run-length counts, compressed or not
    polygons  path of a LabelMe JSON or GeoJSON file for each image: "labels/{id}.json"; label: the property of GeoJSON
              features with the class
    touched   whether a polygon holds all pixels that it touches, or those whose centres lie in it
    """

    csv: Text | None = None
    id: Text = "id"
    rle: Text = "rle"
    category: Text | None = None
    dialect: Annotated[str, one_of(DIALECTS)] = "kaggle"
    unlisted: Literal["refuse", "empty"] = "refuse"
    coco: Text | None = None
    polygons: Text | None = None
    label: Text = "label"
    touched: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Truth:
        given: dict[str, Any] = {"csv": self.csv, "coco": self.coco, "polygons": self.polygons}
        refuse((sum(value is not None for value in given.values()) != 1, "expected one of csv, coco and polygons"))
        if self.polygons is not None:
            refuse_pattern(self.polygons, bands=False)
        return self
