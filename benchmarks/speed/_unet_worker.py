"""One candidate of _beside_torch.py, in a Python that has its library.

    _unet_worker.py NAME FAMILY HEIGHT WIDTH BATCH

Prints how many numbers are trained, then answers each line it reads with one number: `train N` and `predict N` with the
seconds of the processor for N batches, `memory` with the greatest memory so far, above that of its library, in MB.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CLASSES = 4
FAMILIES: dict[str, dict[str, Any]] = {
    "resnet18": {"family": "segmentation_models", "options": {"encoder": "resnet18", "encoder_weights": "none"}},
    "efficientnetlite0": {
        "family": "unet",
        "options": {
            "encoder": "efficientnetlite0",
            "encoder_weights": "none",
            "decoder_filters": [256, 128, 64, 32, 16],
            "batchnorm_momentum": 0.99,
        },
    },
    "plain": {"family": "plain_unet", "options": {"filters": [16, 32, 64, 128, 256]}},
}
MULTIPLE = 32  # of the sides that a network computes with; images are padded to it
DECODER = (256, 128, 64, 32, 16)
# Of EfficientNet-Lite0: repeats, filters, kernel, stride and expansion of each stage.
LITE0 = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
WARM_UP = 3  # batches: tracing, compiling, choosing of kernels
Act = Callable[[], object]


def main(name: str, family: str, height: int, width: int, batch: int) -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    rng = np.random.default_rng(0)
    images = rng.random((batch, height, width, 3), dtype=np.float32)
    masks = (rng.random((batch, height, width, CLASSES)) > 0.7).astype(np.uint8)
    theirs = name.startswith("torch")
    (_import_torch if theirs else _import_keras)()
    bare = _memory()
    count, train, predict = (_torch if theirs else _keras)(name, family, images, masks)
    acts = {"train": train, "predict": predict}
    warm = set()
    with os.fdopen(answers, "w") as said:
        print(count, file=said, flush=True)
        for line in sys.stdin:
            question, *steps = line.split()
            if question in acts and question not in warm:
                _timed(acts[question], WARM_UP)
                warm.add(question)
            answer = _memory() - bare if question == "memory" else _timed(acts[question], int(steps[0]))
            print(answer, file=said, flush=True)


def _timed(act: Act, steps: int) -> float:
    start = time.process_time()
    for _ in range(steps):
        act()
    return time.process_time() - start


def _memory() -> float:
    with open("/proc/self/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def _import_keras() -> None:
    from skyfold.memory import share_one_heap
    from skyfold.training import backend

    share_one_heap()  # as every command does
    backend.start(deterministic=True)


def _import_torch() -> None:
    import torch

    torch.zeros(())


def _keras(name: str, family: str, images: np.ndarray, masks: np.ndarray) -> tuple[int, Act, Act]:
    from skyfold.competition import build
    from skyfold.config.run import RunConfig
    from skyfold.tasks import build_task
    from skyfold.training.network import Network

    batch, height, width = images.shape[:3]
    config = RunConfig.model_validate(
        {
            "name": "speed",
            "data": {"competition": "understanding_clouds"},
            "image": {"size": [height, width]},
            "model": FAMILIES[family],
            "loss": {"name": "bce_dice"},
            "training": {"batch_size": batch, "mixed_precision": name.split()[-1]},
        }
    )
    task = build_task(config, build("understanding_clouds"))
    assert len(task.classes) == CLASSES
    network = Network(task, input_shape=images.shape[1:])
    targets = np.concatenate([masks, np.ones_like(masks[..., :1])], axis=-1)
    count = sum(int(np.prod(weight.shape)) for weight in network.model.trainable_variables)
    return count, lambda: network.train(images, targets, learning_rate=1e-3), lambda: network.logits(images)


def _torch(name: str, family: str, images: np.ndarray, masks: np.ndarray) -> tuple[int, Act, Act]:
    import torch

    compiled, missing = "compiled" in name, [(0, -side % MULTIPLE) for side in images.shape[1:3]]
    images, masks = (np.pad(each, [(0, 0), *missing, (0, 0)]) for each in (images, masks))
    made = {"resnet18": _torch_resnet_unet, "efficientnetlite0": _torch_lite_unet, "plain": _torch_plain_unet}
    model = made[family]()
    layout = torch.channels_last if compiled or "channels_last" in name else torch.contiguous_format
    model = model.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=compiled)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    target = torch.from_numpy(masks).permute(0, 3, 1, 2).float().contiguous(memory_format=layout)
    run: Any = torch.compile(model) if compiled else model
    precision = torch.autocast("cpu", dtype=torch.bfloat16, enabled="bfloat16" in name)

    def loss_of(logits: Any) -> Any:
        logits = logits.float()
        probability = torch.sigmoid(logits)
        overlap, total = (probability * target).sum((0, 2, 3)), (probability + target).sum((0, 2, 3))
        dice = (1 - (2 * overlap + 1) / (total + 1)).mean()
        return 0.5 * torch.nn.functional.binary_cross_entropy_with_logits(logits, target) + 0.5 * dice

    def train() -> float:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with precision:
            logits = run(x)
        loss = loss_of(logits)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def predict() -> Any:
        model.eval()
        with torch.no_grad(), precision:
            return run(x).float().numpy()

    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad), train, predict


def _torch_resnet_unet() -> Any:
    """The network of segmentation-models: a pre-activated ResNet18, two convolutions at each size of the decoder."""
    import torch
    from torch import nn

    def norm(channels: int) -> Any:
        return nn.BatchNorm2d(channels, eps=2e-5, momentum=0.01)

    def conv(before: int, after: int, size: int = 3, stride: int = 1) -> Any:
        return nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)

    class Unit(nn.Module):
        def __init__(self, before: int, after: int, stride: int, joined: bool) -> None:
            super().__init__()
            self.norm1, self.conv1 = norm(before), conv(before, after, 3, stride)
            self.norm2, self.conv2 = norm(after), conv(after, after)
            self.shortcut = conv(before, after, 1, stride) if joined else None

        def forward(self, x: Any) -> tuple[Any, Any]:
            active = torch.relu(self.norm1(x))
            kept = x if self.shortcut is None else self.shortcut(active)
            return self.conv2(torch.relu(self.norm2(self.conv1(active)))) + kept, active

    class Unet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_data = norm(3)
            self.norm_data.weight.requires_grad = False  # it shifts, and does not scale
            self.conv0, self.norm0 = conv(3, 64, 7, 2), norm(64)
            widths = (64, 64, 128, 256, 512)
            self.units = nn.ModuleList(
                Unit(
                    widths[stage] if number == 0 else widths[stage + 1],
                    widths[stage + 1],
                    1 + (number == 0 < stage),
                    number == 0,
                )
                for stage in range(4)
                for number in range(2)
            )
            self.norm_last = norm(512)
            self.decoder = nn.ModuleList()
            before = 512
            for filters, skipped in zip(DECODER, (256, 128, 64, 64, 0), strict=True):
                block = [
                    conv(before + skipped, filters),
                    norm(filters),
                    nn.ReLU(),
                    conv(filters, filters),
                    norm(filters),
                ]
                self.decoder.append(nn.Sequential(*block, nn.ReLU()))
                before = filters
            self.head = nn.Conv2d(before, CLASSES, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.norm0(self.conv0(self.norm_data(x))))
            skipped = [x]
            x = torch.nn.functional.max_pool2d(x, 3, 2, padding=1)
            for index, unit in enumerate(self.units):
                x, active = unit(x)
                if index in (2, 4, 6):
                    skipped.append(active)
            x = torch.relu(self.norm_last(x))
            for block in self.decoder:
                x = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
                x = block(torch.cat([x, skipped.pop()], 1) if skipped else x)
            return self.head(x)

    return Unet()


def _torch_lite_unet() -> Any:
    """skyfold/models/unet.py on EfficientNet-Lite0."""
    import torch
    from torch import nn

    def conv(before: int, after: int, size: int = 1, stride: int = 1, groups: int = 1) -> list[Any]:
        pad = size // 2
        return [nn.Conv2d(before, after, size, stride, pad, groups=groups, bias=False), nn.BatchNorm2d(after, 1e-3)]

    class Block(nn.Module):
        def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int, added: bool) -> None:
            super().__init__()
            inner = before * expansion
            expanded = [*conv(before, inner), nn.ReLU6(inplace=True)] if expansion > 1 else []
            depthwise = [*conv(inner, inner, kernel, stride, inner), nn.ReLU6(inplace=True)]
            self.layers = nn.Sequential(*expanded, *depthwise, *conv(inner, after))
            self.added = added

        def forward(self, x: Any) -> Any:
            return self.layers(x) + x if self.added else self.layers(x)

    class Unet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(*conv(3, 32, 3, 2), nn.ReLU6(inplace=True))
            self.stages, before = nn.ModuleList(), 32
            for repeats, filters, kernel, stride, expansion in LITE0:
                blocks = []
                for index in range(repeats):
                    step = 1 if index else stride
                    blocks.append(Block(before, filters, kernel, step, expansion, added=index > 0))
                    before = filters
                self.stages.append(nn.Sequential(*blocks))
            self.decoder = nn.ModuleList()
            for filters, skipped in zip(DECODER, (112, 40, 24, 16, 0), strict=True):
                block = [*conv(before + skipped, filters, 3), nn.ReLU(), *conv(filters, filters, 3), nn.ReLU()]
                self.decoder.append(nn.Sequential(*block))
                before = filters
            self.head = nn.Conv2d(before, CLASSES, 3, padding=1)

        def forward(self, x: Any) -> Any:
            x, skipped = self.stem(x), []
            for number, stage in enumerate(self.stages):
                x = stage(x)
                if number in (0, 1, 2, 4):  # the last of each stride
                    skipped.append(x)
            for block in self.decoder:
                x = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
                x = block(torch.cat([x, skipped.pop()], 1) if skipped else x)
            return self.head(x)

    return Unet()


def _torch_plain_unet() -> Any:
    """skyfold/models/plain_unet.py."""
    import torch
    from torch import nn

    filters = FAMILIES["plain"]["options"]["filters"]

    def twice(before: int, after: int) -> Any:
        layers: list[Any] = []
        for count in (before, after):
            layers += [nn.Conv2d(count, after, 3, padding=1, bias=False), nn.BatchNorm2d(after, 1e-3), nn.ReLU()]
        return nn.Sequential(*layers)

    class Unet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList(
                twice(before, after) for before, after in zip([3, *filters], filters, strict=False)
            )
            pairs = list(zip(filters[::-1], filters[-2::-1], strict=False))
            self.enlarge = nn.ModuleList(nn.ConvTranspose2d(before, after, 2, 2) for before, after in pairs)
            self.up = nn.ModuleList(twice(2 * after, after) for _, after in pairs)
            self.head = nn.Conv2d(filters[0], CLASSES, 1)

        def forward(self, x: Any) -> Any:
            maps = []
            for level, convolved in enumerate(self.down):
                x = convolved(torch.nn.functional.max_pool2d(x, 2) if level else x)
                maps.append(x)
            maps.pop()
            for enlarge, convolved in zip(self.enlarge, self.up, strict=True):
                x = convolved(torch.cat([maps.pop(), enlarge(x)], 1))
            return self.head(x)

    return Unet()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
