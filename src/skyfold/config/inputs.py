"""What a network sees: images brought to a size, cut or scaled, or a view of past frames."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from skyfold.config.fields import Fraction, Positive, Strict
from skyfold.types import IntPair


class GuidedFilterConfig(Strict):
    """How maps follow the edges of the image when they are enlarged (see postprocess/guided_filter.py).

    guide: the plane of the image whose edges count, a feature of data/colour.py; radius: of the window, in pixels of
    the competition's grid; eps: in squares of the guide, which lies in 0 .. 1.
    """

    guide: Literal["red_blue_ratio", "brightness", "lowest_band", "whiteness", "local_contrast"]
    radius: Annotated[int, Field(ge=1, le=64)] = 8
    eps: Annotated[float, Field(gt=0)] = 1e-5


class CropConfig(Strict):
    """Big scenes are learned from by crops and predicted by overlapping tiles, instead of being reduced as a whole.

    `image.size` is then the size of a crop and of a tile. crops_per_image: crops of each scene in an epoch; scales:
    the least
    and greatest side of a crop over `image.size`, drawn anew for each epoch, all crops being brought to `image.size`;
    balanced: share of crops laid around a pixel of a class that is drawn evenly, however rare it is; overlap: what
    neighbouring tiles share at least, of the shorter side of a tile. Tiles are predicted at the scene's own scale.
    """

    crops_per_image: Positive = 4
    scales: tuple[float, float] = (1.0, 1.0)
    class_balanced_fraction: Fraction = 0.5
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.25

    @field_validator("scales")
    @classmethod
    def _ascending(cls, scales: tuple[float, float]) -> tuple[float, float]:
        if not 0 < scales[0] <= scales[1] < math.inf:
            raise ValueError("the least and the greatest, both above 0")
        return scales


class ImageConfig(Strict):
    """size: (H, W) the network sees; images are reduced with area averaging, or, with `crop`, cut.

    normalization: how bytes become numbers (see data/normalization.py); encoder: as the encoder's pretrained weights
    want it.
    edges: how probabilities follow the edges of the image on the competition's grid; none: enlarged bilinearly alone.
    """

    size: IntPair
    normalization: Literal["unit", "none", "tf", "torch", "caffe", "reflectance", "per_image", "encoder"] = "unit"
    guided_filter: GuidedFilterConfig | None = None
    crop: CropConfig | None = None

    @field_validator("size")
    @classmethod
    def _positive(cls, size: IntPair) -> IntPair:
        if min(size) < 8:
            raise ValueError("both sides must be at least 8 pixels")
        return size

    @model_validator(mode="after")
    def _cut_or_reduced(self) -> ImageConfig:
        if self.crop and self.guided_filter:
            raise ValueError(
                "guided_filter: not supported with crop, whose tiles keep the image's own scale; remove one of them"
            )
        return self


class FrameAdapterConfig(Strict):
    """What a forecast network sees. name: a module of `forecasting.frame_adapters`; options: of its `build`.

    newest: a fold learns from so many of its last dates alone, the last 15 years, say; None: from all.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    max_train_size: Positive | None = None
