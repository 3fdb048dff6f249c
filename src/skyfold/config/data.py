"""Data of a config: competition, files, cross-validation folds, and the images or past frames that a network reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from skyfold.config.fields import Above0, Ascending, Fraction, Many, Name, Positive, Seed, Strict, Years


class FoldsConfig(Strict):
    """How training samples are divided into folds; written once to `oof/<data name>/folds.csv`, shared by all runs.

    k: number of folds; seed: of their assignment. phash_max_distance: images whose 256-bit difference hashes differ in
    at most this many bits share a fold; -1: off. years: first and last year that forecasts are validated on, one fold
    each, fitted on earlier samples only; k and seed are ignored. years_per_fold: number of years in a fold; all of them
    are forecast with what was fitted before the first one.
    """

    k: Annotated[int, Field(ge=2, le=10_000)] = 5
    seed: Seed = 0
    phash_max_distance: Annotated[int, Field(ge=-1, le=32)] = 3
    years: Years | None = None
    years_per_fold: Positive = 1

    @model_validator(mode="after")
    def _of_years(self) -> FoldsConfig:
        if self.years is None and self.years_per_fold > 1:
            raise ValueError("years_per_fold: needs years, the first and last year to validate; set it, or remove this")
        return self


class DataConfig(Strict):
    """A data set: the competition that defines its files, and the name of its folder.

    name: folder of the files and of the results; None: the competition's name. options: of the competition (a class
    table, for instance). sample: settings of the competition's procedural sample, for those that have one.
    """

    competition: str
    name: Name | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    folds: FoldsConfig = FoldsConfig()
    sample: dict[str, Any] | None = None

    @property
    def folder(self) -> str:
        """Name of the folder of its files and results."""
        return self.name or self.competition


class DatasetConfig(Strict):
    """A data set without a model, for `skyfold prepare` and `skyfold score`."""

    data: DataConfig


class GuidedFilterConfig(Strict):
    """Guided filter that aligns enlarged probability maps with edges of the image (see postprocess/guided_filter.py).

    guide: the image feature whose edges count (see data/colour.py), in 0..1; radius: of the window, in pixels of the
    competition's grid; eps: regularisation, in squared units of the guide.
    """

    guide: Literal["red_blue_ratio", "brightness", "lowest_band", "whiteness", "local_contrast"]
    radius: Annotated[int, Field(ge=1, le=64)] = 8
    eps: Annotated[float, Field(gt=0)] = 1e-5


Side = Annotated[int, Field(ge=8)]  # pixels


class CropConfig(Strict):
    """Crops: train on random crops of large scenes, predict by overlapping tiles at the scene's own scale.

    `image.size` is the size of a crop and of a tile. crops_per_image: crops of each scene per epoch; scales: smallest
    and largest side of a crop over `image.size`, drawn for each epoch, all crops being resized to `image.size`;
    class_balanced_fraction: fraction of crops around a pixel of a class that is drawn evenly, however rare it is;
    overlap: of neighbouring tiles, at least, as a fraction of the shorter side of a tile.
    """

    crops_per_image: Many = 4
    scales: Annotated[tuple[Above0, Above0], Ascending] = (1.0, 1.0)
    class_balanced_fraction: Fraction = 0.5
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.25


class ImageConfig(Strict):
    """Images as the network reads them.

    size: (H, W); images are resized with area averaging or, with `crop`, cropped. normalization: mode of
    `data.normalization`, or "encoder" for that of the encoder's pretrained weights. guided_filter: aligns probability
    maps with the edges of the image on the competition's grid; None: maps are resized bilinearly.
    """

    size: tuple[Side, Side]
    normalization: Literal["unit", "none", "tf", "torch", "caffe", "reflectance", "per_image", "encoder"] = "unit"
    guided_filter: GuidedFilterConfig | None = None
    crop: CropConfig | None = None

    @model_validator(mode="after")
    def _cut_or_reduced(self) -> ImageConfig:
        if self.crop and self.guided_filter:
            raise ValueError(
                "guided_filter: not supported with crop, whose tiles keep the image's own scale; remove one of them"
            )
        return self


class FrameAdapterConfig(Strict):
    """Frame adapter of a forecast network. name: a module of `forecasting.frame_adapters`; options: its fields.

    max_train_size: a fold is trained on at most this many of its last dates; None: on all.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    max_train_size: Positive | None = None
