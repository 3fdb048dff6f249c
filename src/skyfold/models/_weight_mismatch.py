"""Where a file of weights and a network differ: the layer, the shapes it expects and those that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Shapes = list[tuple[int, ...]]


def misfit(file: Path, network: Any) -> str:
    """The first layer of `network` that the file has in other shapes, or not at all, or the first that only the file
    has; '' where nothing can be said, since the two have no layer's name in common or differ in none.

    file: HDF5, as Keras 3 or Keras 2 writes weights. OSError where it is no HDF5.
    """
    saved = _saved(file)
    own = {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in network.layers if layer.weights}
    if not saved.keys() & own.keys():
        return ""
    for name, shapes in own.items():
        if name in saved and saved[name] != shapes:
            return f"layer '{name}' expects {_listed(shapes)}, the file has {_listed(saved[name])}"
    for name in own:
        if name not in saved:
            return f"the file has no layer '{name}'"
    for name in saved:
        if name not in own:
            return f"the file has a layer '{name}', which the encoder has not"
    return ""


def _saved(file: Path) -> dict[str, Shapes]:
    """Shapes of the weights by layer, of the layers that have any."""
    import h5py

    with h5py.File(file) as opened:
        root = opened.get("model_weights", opened)
        layers = _of_keras2(root) if "layer_names" in root.attrs else _of_keras3(root)
    return {name: shapes for name, shapes in layers.items() if shapes}


def _of_keras2(root: Any) -> dict[str, Shapes]:
    names = [_text(name) for name in root.attrs["layer_names"]]
    return {name: [root[name][_text(weight)].shape for weight in root[name].attrs["weight_names"]] for name in names}


def _of_keras3(root: Any) -> dict[str, Shapes]:
    groups = [group["vars"] for group in root.get("layers", {}).values() if "vars" in group]
    return {
        _text(group.attrs.get("name", "")): [group[key].shape for key in sorted(group, key=int)] for group in groups
    }


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _listed(shapes: Shapes) -> str:
    return " and ".join(map(str, shapes))
