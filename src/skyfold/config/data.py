"""Data of a config: competition, files, cross-validation folds, and the images or past frames that a network reads."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from skyfold.config.fields import Above0, Ascending, Fraction, Many, Name, Positive, Seed, Strict, Text, Years, refuse


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
    submissions_per_day: how many the contest takes of one day, of UTC. exclude: a CSV with the columns id and reason,
    relative to the project folder, of training samples that nothing is trained, chosen or scored on; `skyfold prepare`
    notes them in folds.csv.
    """

    competition: str
    name: Name | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    folds: FoldsConfig = FoldsConfig()
    sample: dict[str, Any] | None = None
    submissions_per_day: Positive | None = None
    exclude: Text | None = None

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
Percentile = Annotated[float, Field(ge=0, le=100)]


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


Limits = Annotated[tuple[float, float], Ascending]


class RescaleConfig(Strict):
    """Stored values mapped to 0..1 before augmentation, with limits from the training rows of each fit.

    kind: what becomes 0 and 1: the least and the greatest value (minmax), two `percentiles`, the mean minus and plus
    `deviations` standard deviations (mean_std), or the two stored values in `limits` (fixed), which may also be one
    pair of each band. Values beyond are clipped. per: limits of each band, or one pair of all bands together.
    """

    kind: Literal["minmax", "percentile", "mean_std", "fixed"]
    per: Literal["band", "all"] = "band"
    percentiles: Annotated[tuple[Percentile, Percentile], Ascending] = (2.0, 98.0)
    deviations: Above0 = 2.0
    limits: Limits | Annotated[tuple[Limits, ...], Field(min_length=1)] | None = None

    @property
    def pairs(self) -> tuple[tuple[float, float], ...]:
        """`limits` as pairs, one or one of each band."""
        given: Any = self.limits or ()
        return given if not given or isinstance(given[0], tuple) else (given,)

    @model_validator(mode="after")
    def _of_kind(self) -> RescaleConfig:
        default = type(self).model_fields
        for key, kind in (("percentiles", "percentile"), ("deviations", "mean_std"), ("limits", "fixed")):
            refuse(
                (
                    self.kind != kind and getattr(self, key) != default[key].default,
                    f"{key}: is of kind: {kind}, here kind: {self.kind}; remove it, or change kind",
                )
            )
        refuse(
            (self.kind == "fixed" and self.limits is None, "limits: kind: fixed needs it, for instance [0, 10000]"),
            (self.kind == "fixed" and self.per != "band", "per: not used by kind: fixed; give one pair as limits"),
            (any(low == high for low, high in self.pairs), "limits: expected [low, high], low below high"),
        )
        return self


class ImageConfig(Strict):
    """Images as the network reads them.

    size: (H, W); images are resized with area averaging or, with `crop`, cropped. rescale: maps stored values to 0..1;
    needed by images of other types than uint8. neighbours: this many samples before and after each are further bands
    (2.5D). normalization: mode of `data.normalization`, or "encoder" for that of the encoder's pretrained weights.
    guided_filter: aligns probability maps with the edges of the image on the competition's grid; None: maps are
    resized bilinearly.
    """

    size: tuple[Side, Side]
    rescale: RescaleConfig | None = None
    neighbours: Annotated[int, Field(ge=0, le=16)] = 0
    normalization: Literal["unit", "none", "tf", "torch", "lite", "caffe", "reflectance", "per_image", "encoder"] = (
        "unit"
    )
    guided_filter: GuidedFilterConfig | None = None
    crop: CropConfig | None = None

    @model_validator(mode="after")
    def _cut_or_reduced(self) -> ImageConfig:
        refuse(
            (
                self.crop and self.guided_filter,
                "guided_filter: not supported with crop, whose tiles keep the image's own scale; remove one of them",
            ),
            (self.crop and self.neighbours, "neighbours: not supported with crop; remove one of them"),
        )
        return self


class FrameAdapterConfig(Strict):
    """Frame adapter of a forecast network. name: a module of `forecasting.frame_adapters`; options: its fields.

    max_train_size: a fold is trained on at most this many of its last dates; None: on all.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    max_train_size: Positive | None = None
