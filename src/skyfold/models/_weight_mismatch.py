"""Comparison of a file of weights with a network: the first layer that differs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

Shapes = list[tuple[int, ...]]


def misfit(file: Path, network: Any) -> str:
    """The first layer of `network` that the file has in other shapes, or not at all, or the first that only the file
    has.

    file: HDF5, as Keras 3 or Keras 2 writes weights. Returns '' where it cannot be read, has no layer's name in common
    with the network, or does not differ.
    """
    try:
        saved = _saved(file)
    except OSError:
        return ""
    own = {layer.name: [tuple(weight.shape) for weight in layer.weights] for layer in network.layers if layer.weights}
    if not saved.keys() & own.keys():
        return ""
    for name, shapes in own.items():
        if saved.get(name, shapes) != shapes:
            return f"layer '{name}' expects {_listed(shapes)}, the file has {_listed(saved[name])}"
    for name in [*own, *saved]:
        if name not in saved:
            return f"the file has no layer '{name}'"
        if name not in own:
            return f"the file has a layer '{name}', which the encoder has not"
    return ""


def oversized(file: Path) -> str:
    """An array of an HDF5 file that is larger than the file, or lies outside of it; '' where there is none, or where
    the file cannot be read.

    Keras stores weights as they are, so that no array takes more memory than its file is long.
    """
    import h5py

    faults: list[str] = []

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and (entry.nbytes > file.stat().st_size or entry.external):
            faults.append(f"'{name}' takes {entry.nbytes} bytes, the file has {file.stat().st_size}")

    with suppress(OSError), h5py.File(file) as opened:
        opened.visititems(visit)
    return faults[0] if faults else ""


def _saved(file: Path) -> dict[str, Shapes]:
    """Shapes of the weights by layer, of the layers that have any."""
    import h5py

    with h5py.File(file) as opened:
        root = opened.get("model_weights", opened)
        if "layer_names" in root.attrs:  # Keras 2
            layers = {
                name: [root[name][key] for key in root[name].attrs["weight_names"]]
                for name in root.attrs["layer_names"]
            }
        else:
            groups = [group["vars"] for group in root.get("layers", {}).values() if "vars" in group]
            layers = {group.attrs.get("name", ""): [group[key] for key in sorted(group, key=int)] for group in groups}
        shapes = {name: [weight.shape for weight in weights] for name, weights in layers.items() if weights}
    return {name.decode() if isinstance(name, bytes) else str(name): found for name, found in shapes.items()}


def _listed(shapes: Shapes) -> str:
    return " and ".join(map(str, shapes))
