"""Write pytorch_encoders.json, names, shapes and outputs of networks of PyTorch's libraries, and the small files.

By hand, in an environment with torch 2.13.0, torchvision 0.28.0, timm 1.0.31, transformers 5.24.0, safetensors 0.8.0:
python tests/golden/make_pytorch_encoders.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from pytorch_tensors import image, small_tensors, tensor  # noqa: E402

models = torchvision.models
NETWORKS = {
    "torchvision/resnet18": (models.resnet18, "resnet"),
    "torchvision/resnet50": (models.resnet50, "resnet"),
    "torchvision/efficientnet_b0": (models.efficientnet_b0, "features"),
    "torchvision/mobilenet_v3_small": (models.mobilenet_v3_small, "features"),
    "torchvision/mobilenet_v3_large": (models.mobilenet_v3_large, "features"),
    "torchvision/convnext_tiny": (models.convnext_tiny, "convnext"),
    "timm/efficientnet_b0": (lambda: timm.create_model("efficientnet_b0"), "timm"),
    "timm/tf_efficientnet_b0": (lambda: timm.create_model("tf_efficientnet_b0"), "timm"),
    "timm/mobilenetv3_large_100": (lambda: timm.create_model("mobilenetv3_large_100"), "timm"),
    "timm/convnext_tiny": (lambda: timm.create_model("convnext_tiny"), "timm convnext"),
}


def maps_of(network: torch.nn.Module, kind: str, x: torch.Tensor) -> torch.Tensor:
    if kind == "resnet":
        for name, layer in network.named_children():
            x = x if name in ("avgpool", "fc") else layer(x)
        return x
    if kind == "convnext":
        return network.classifier[0](network.features(x))
    if kind == "timm convnext":
        return network.head.norm(network.forward_features(x))
    return network.features(x) if kind == "features" else network.forward_features(x)


def segformer() -> dict[str, object]:
    """MiT-B0 with three classes, by the names that it is stored under."""
    with tempfile.TemporaryDirectory() as folder:
        SegformerForSemanticSegmentation(SegformerConfig(num_labels=3)).save_pretrained(folder)
        stored = Path(folder) / "model.safetensors"
        shapes = {key: list(value.shape) for key, value in load_file(stored).items()}
        save_file({key: torch.from_numpy(tensor(key, tuple(shape))) for key, shape in shapes.items()}, stored)
        network = SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(image().transpose(0, 3, 1, 2))).logits[0].numpy()
    maps = [[round(float(value), 6) for value in row] for row in logits.reshape(3, -1)[:, ::7]]
    return {"tensors": shapes, "maps": maps, "deviation": float(logits.std())}


def main() -> None:
    found = {}
    for name, (make, kind) in NETWORKS.items():
        network = make().eval()
        shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
        network.load_state_dict({key: torch.from_numpy(tensor(key, tuple(shape))) for key, shape in shapes.items()})
        with torch.no_grad():
            maps = maps_of(network, kind, torch.from_numpy(image().transpose(0, 3, 1, 2)))[0].numpy()
        output = [[round(float(value), 6) for value in row] for row in maps.reshape(len(maps), -1)[::37]]
        found[name] = {"tensors": shapes, "maps": output, "deviation": float(maps.std())}
    found["transformers/mit_b0"] = segformer()
    lines = (f" {json.dumps(name)}: {json.dumps(about, separators=(',', ':'))}" for name, about in found.items())
    (HERE / "pytorch_encoders.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    state = {key: torch.from_numpy(value) for key, value in small_tensors().items()}
    state["strided"] = state["strided"].permute(0, 2, 1).contiguous().permute(0, 2, 1)
    state["half"], state["brain"] = state["half"].half(), state["brain"].bfloat16()
    torch.save(state, HERE / "zip.pth")
    torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": state, "lr": 0.1}, HERE / "checkpoint.pt")
    save_file({key: value.contiguous() for key, value in state.items()}, HERE / "small.safetensors")


if __name__ == "__main__":
    main()
