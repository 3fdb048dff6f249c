"""Inputs of a network: resized or cropped images, or past frames through a frame adapter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from skyfold.config.fields import Above0, Ascending, Fraction, Positive, Strict


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

    crops_per_image: Positive = 4
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
