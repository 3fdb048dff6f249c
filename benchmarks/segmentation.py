"""Measure what the acceptance table of segmentation wants of networks and tiles, and keep it, small enough for git.

    python benchmarks/segmentation.py             all that is installed for; some minutes on two cores
    python benchmarks/segmentation.py tiles       these alone; what was kept of the others stays

    parameters   of HRNetV2 and DeepLabV3+, beside the published ones (tests/test_hrnet.py, test_deeplabv3plus.py)
    tiles        a constant model by tiles; steps across tile borders of a trained one (tests/test_tiles_of_networks.py)
    csmask       the encoder of ukis-csmask in Keras and in onnxruntime (tests/test_csmask.py; needs the extra weights)

The tests hold the same figures to their limits, and their helpers are used here.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from skyfold.files import read_json, write_json
from skyfold.types import JsonDict

HERE = Path(__file__).parent
KEPT = HERE / "results" / "segmentation.json"
sys.path.insert(0, str(HERE.parent / "tests"))


def parameters() -> JsonDict:
    """Millions of ours and of the published ones, by name of the network."""
    from skyfold.models import _encoders, _hrnet, deeplabv3plus, hrnet
    from test_hrnet import classification_head, trainable

    start()
    found: dict[str, list[float]] = {}
    for encoder, published in (("hrnet_w48", 65.8), ("hrnet_w18_small", 3.9)):
        model = hrnet.Hrnet(encoder=encoder, encoder_weights="none").build(input_shape=(32, 32, 3), classes=19)
        found[f"{encoder}, head of 19 classes"] = [trainable(model), published]
    for encoder, published in (("hrnet_w18", 21.3), ("hrnet_w32", 41.2), ("hrnet_w48", 77.5)):
        body = trainable(_encoders.hrnet_body(encoder, bands=3))
        head = classification_head(_hrnet.plan_of(encoder).width)
        found[f"{encoder}, head for ImageNet"] = [body + head, published]
    for options, published in (
        ({"encoder": "resnet50v2", "aspp_separable": False}, 39.190656),
        ({"encoder": "resnet18"}, 12.3),
        ({"encoder": "resnet34"}, 22.5),
    ):
        model = deeplabv3plus.DeepLabV3Plus(encoder_weights="none", **options).build(input_shape=(64, 64, 3), classes=1)
        found[f"deeplabv3plus on {options['encoder']}"] = [model.count_params(), published]
    return {name: {"millions": count / 1e6, "published": published} for name, (count, published) in found.items()}


def tiles() -> JsonDict:
    """constant: greatest difference from the model's own answer; excess: of steps at tile borders over those elsewhere,
    as a share, with the overlap that runs have, and without one."""
    from skyfold.config.data import CropConfig
    from skyfold.data.windows import ArrayWindows
    from skyfold.training.tiles import Tiling, predict_scene
    from test_tiles_of_networks import TILE, excess, model

    start()
    scene = ArrayWindows(np.random.default_rng(0).integers(0, 256, (301, 407, 3), dtype=np.uint8), 3)
    tiling = Tiling((TILE, TILE), round(CropConfig().overlap * TILE))
    answers = predict_scene(scene, lambda tiles: np.full((*tiles.shape[:3], 4), 0.3, np.float32), tiling, batch_size=4)
    constant = max(float(np.abs(strip - np.float32(0.3)).max()) for strip in answers)
    network = model.__wrapped__()  # what the fixture makes
    return {
        "constant": constant,
        "excess": excess(network, overlap=tiling.overlap),
        "excess_without_overlap": excess(network, overlap=0),
    }


def csmask() -> JsonDict:
    """Of the ends of groups of blocks, in deviations of onnxruntime's answers: the root of the mean square difference
    from the package's 16-bit numbers, and the greatest difference from the same in 32 bits."""
    from test_csmask import ENDS, in_keras, in_onnxruntime, scene

    start()
    images = scene(4)
    ours = in_keras(images, list(ENDS))
    exact, rounded = (in_onnxruntime(images[..., [2, 1, 0, 3]], list(ENDS.values()), bits=bits) for bits in (32, 16))
    return {
        "mean_in_16_bits": max(float((a - b).std() / b.std()) for a, b in zip(ours, rounded, strict=True)),
        "greatest_in_32_bits": max(float(np.abs(a - b).max() / b.std()) for a, b in zip(ours, exact, strict=True)),
    }


def start() -> None:
    from skyfold.training import backend

    backend.start(deterministic=True)
    backend.prepare(precision="float32")


TOPICS: dict[str, Callable[[], JsonDict]] = {"parameters": parameters, "tiles": tiles, "csmask": csmask}
NEEDED = {"csmask": ("ukis_csmask", "onnx", "onnxruntime")}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("topics", nargs="*", help=f"of {', '.join(TOPICS)} (default: all)")
    given = arguments.parse_args(argv)
    if unknown := set(given.topics) - set(TOPICS):
        arguments.error(f"no topic {', '.join(sorted(unknown))}; there are: {', '.join(TOPICS)}")
    for topic in given.topics or TOPICS:
        missing = [name for name in NEEDED.get(topic, ()) if importlib.util.find_spec(name) is None]
        if missing:
            print(f"{topic}: left out, {', '.join(missing)} not installed", file=sys.stderr)
            continue
        print(f"measuring: {topic}", file=sys.stderr)
        kept = read_json(KEPT) if KEPT.is_file() else {}
        write_json(KEPT, {**kept, topic: TOPICS[topic]()})
    print(KEPT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
