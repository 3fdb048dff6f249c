"""ResNet of 18 to 152 layers as PyTorch's libraries have it, and their weights: the layers have its names.

Other than in keras.applications, a bottleneck is halved in its 3 x 3 convolution ("v1.5"), and convolutions have no
bias; other than in segmentation-models, ResNet18 and 34 are not of the pre-activated kind.
"""

from __future__ import annotations

from typing import Any

from skyfold.models._pytorch_layers import Naming

BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}


def network(name: str, *, input_shape: tuple[int, int, int]) -> Any:
    """The keras.Model (He et al., arXiv:1512.03385) from images (H, W, C) to maps (H / 32, W / 32, 512 or 2048)."""
    import keras

    image = keras.Input(input_shape)
    x = _conv_bn(image, "conv1", "bn1", 64, 7, stride=2)
    x = keras.layers.ReLU(name="relu")(x)
    x = keras.layers.ZeroPadding2D(1, name="maxpool_pad")(x)  # after a ReLU zeros are as good as nothing
    x = keras.layers.MaxPooling2D(3, 2, name="maxpool")(x)
    basic = name in ("resnet18", "resnet34")
    for stage, count in enumerate(BLOCKS[name]):
        filters = 64 * 2**stage
        for index in range(count):
            block, stride = f"layer{stage + 1}.{index}", 2 if stage and not index else 1
            kernels = [(filters, 3, stride), (filters, 3, 1)]
            if not basic:
                kernels = [(filters, 1, 1), (filters, 3, stride), (4 * filters, 1, 1)]
            y = x
            for number, (own, kernel, step) in enumerate(kernels, start=1):
                y = _conv_bn(y, f"{block}.conv{number}", f"{block}.bn{number}", own, kernel, stride=step)
                if number < len(kernels):
                    y = keras.layers.ReLU(name=f"{block}.relu{number}")(y)
            if stride > 1 or x.shape[-1] != y.shape[-1]:
                x = _conv_bn(x, f"{block}.downsample.0", f"{block}.downsample.1", y.shape[-1], 1, stride=stride)
            x = keras.layers.ReLU(name=f"{block}.relu")(keras.layers.Add(name=f"{block}.add")([x, y]))
    return keras.Model(image, x, name=name)


def namings(model: Any) -> list[Naming]:
    """Of a `network`; torchvision and timm name its tensors alike."""
    return [Naming("torchvision and timm", {layer.name: layer.name for layer in model.layers})]


def _conv_bn(x: Any, name: str, norm: str, filters: int, kernel: int, *, stride: int) -> Any:
    import keras

    if kernel > 1 and stride > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    padding = "valid" if stride > 1 else "same"
    own = {"use_bias": False, "kernel_initializer": "he_normal", "name": name}
    x = keras.layers.Conv2D(filters, kernel, stride, padding, **own)(x)
    return keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=norm)(x)
