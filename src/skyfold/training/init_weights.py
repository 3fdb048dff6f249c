"""Fine-tuning and transfer learning: initial weights from a run that was trained before, on other data or the same.

On other data each fold starts from the network of that run's fold 0. On the same data and folds, fold f starts from
fold f, which has not seen the rows that fold f validates. On the same data with other folds, and for runs that descend
from such a run, validation rows would leak into training; they are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError
from skyfold.files import file_digest
from skyfold.models import NetworkFamily, family_of
from skyfold.store.contents import Contents, read_contents
from skyfold.store.fits import FitResult, Fold, reason_of
from skyfold.store.folds import Folds
from skyfold.store.runs import RunInfo, read_info
from skyfold.training.input_normalization import normalization_of
from skyfold.training.network import Network
from skyfold.training.objective import Objective
from skyfold.training.source_run import SourceRun, stored_config


def find_init_weights(
    objective: Objective, data_folders: Path, folds: Folds, checksum: str, contents: Contents | None = None
) -> InitWeights:
    """The weights of the run that `model.init_from` names, `data_folders`/<data>/<run>; they are not loaded yet.

    checksum: of the training arrays; contents: of the samples they were made from. OofMismatch where there is no such
    run, MissingWeights where it is not finished, ConfigError where it cannot be used.
    """
    config = objective.config
    assert config.model.init_from is not None
    own = config.data.folder
    data = config.model.init_from.data or own
    source = SourceRun.open(data_folders / data / config.model.init_from.run, key="model.init_from", user=config)
    same_data = data == own or (bool(checksum) and source.info.fingerprint.data == checksum)
    _refuse_leak(config, source, data_folders, folds, same_data=same_data, contents=contents)
    fits: dict[tuple[Fold, int], FitResult] = {}
    for fold in range(folds.k) if same_data else (0,):
        for seed in config.training.seeds:
            theirs = source.config.training.seeds
            fits[fold, seed] = source.fit(fold, seed if seed in theirs else theirs[0])
    if normalization_of(source.config) != objective.normalization:
        raise ConfigError(
            f"{source.what} was trained on images normalized as {normalization_of(source.config)}, not "
            f"{objective.normalization}. Set image.normalization: {normalization_of(source.config)}."
        )
    their_rescale, own_rescale = _rescale_of(source.config), _rescale_of(config)
    if their_rescale != own_rescale:
        raise ConfigError(f"{source.what} has image.rescale {their_rescale}, this run {own_rescale}. Set both alike.")
    if source.config.frame_adapter != config.frame_adapter:
        raise ConfigError(
            f"{source.what} was trained through another frame adapter, {source.config.frame_adapter}. Set "
            "frame_adapter to it."
        )
    files = sorted({fit.weights for fit in fits.values()})
    provenance = " ".join(f"{path.name}:{file_digest(path)}" for path in files)
    return InitWeights(source, fits, provenance)


def _rescale_of(config: RunConfig) -> dict[str, Any] | None:
    """`image.rescale` without its defaults; None where there is none."""
    return config.image.rescale.model_dump(exclude_defaults=True) if config.image and config.image.rescale else None


def _refuse_leak(
    config: RunConfig,
    begun_from: SourceRun,
    data_folders: Path,
    folds: Folds,
    *,
    same_data: bool,
    contents: Contents | None,
) -> None:
    """ConfigError where a run that this one descends from was trained on rows that this one's folds validate."""
    assert config.model.init_from is not None
    own, fold_by_fold = config.data.folder, same_data
    info, source = begun_from.info, begun_from.config
    data = config.model.init_from.data or own
    while True:
        if not same_data and contents is not None:
            _refuse_shared_images(config, info, data_folders / data / info.name, contents)
        if same_data and not (fold_by_fold and info.fingerprint.folds == folds.hash()):
            raise ConfigError(
                f"model.init_from: the run '{info.name}' was trained on {own} with other folds "
                f"({info.fingerprint.folds}) than folds.csv ({folds.hash()}), or by way of other data. It has seen "
                f"rows that '{config.name}' validates, and their score would be too good. Retrain it on these "
                "folds, or start from another run."
            )
        if source.model.init_from is None:
            return
        data = source.model.init_from.data or source.data.folder
        folder = data_folders / data / source.model.init_from.run
        info = read_info(folder)
        source = stored_config(folder, info)
        same_data = data == own
        fold_by_fold = fold_by_fold and same_data


def _refuse_shared_images(config: RunConfig, info: RunInfo, folder: Path, contents: Contents) -> None:
    """ConfigError where the run in `folder`, of other data, was trained on images that are in these data too."""
    theirs = read_contents(folder)
    if theirs is None or "train" not in contents.parts or "train" not in theirs.parts:
        return
    own, seen = contents.parts["train"], set(theirs.parts["train"].inputs.values())
    shared = [name for name, image in own.inputs.items() if image in seen]
    if shared:
        file = own.names.get("inputs", {}).get(shared[0], shared[0])
        raise ConfigError(
            f"model.init_from: the run '{info.name}' on {folder.parent.name} was trained on {len(shared)} of these "
            f"images too, the first of them {file}. It has seen rows that '{config.name}' validates, and their score "
            "would be too good. Start from a run on other images."
        )


@dataclass(frozen=True)
class InitWeights:
    """source: the run whose weights these are; fits: of it, by fold and seed of the run that starts, fold 0
    for all folds, and fits on all samples, where there is no other; provenance: names and SHA-256 of the files."""

    source: SourceRun
    fits: Mapping[tuple[Fold, int], FitResult]
    provenance: str

    def load(self, network: Network, *, fold: Fold, seed: int) -> list[np.ndarray]:
        """Initial weights of `network`, as `Network.set_weights` takes them.

        Where the source has other classes, the last layer keeps the weights of `network`. ConfigError where another
        layer does not fit.
        """
        what = self.source.what
        theirs = self._model(network, self.fits.get((fold, seed)) or self.fits[0, seed])
        head = _last_layer(network.model) if network.objective.classes != self.source.info.classes else set()
        options = ", ".join(f"{key}: {value}" for key, value in self.source.config.model.options.items())
        use = f"{self.source.config.model.family} with {options or 'no options'}"
        if len(theirs.weights) != len(network.model.weights):
            raise ConfigError(
                f"{what} has {len(theirs.weights)} arrays of weights, this network {len(network.model.weights)}. "
                f"Use its model: {use}."
            )
        started = []
        for value, weight, own in zip(theirs.get_weights(), network.model.weights, network.weights(), strict=True):
            if id(weight) not in head and value.shape != own.shape:
                raise ConfigError(
                    f"{what}: its {weight.path} is of shape {value.shape}, this network's of {own.shape}. Use its "
                    f"model ({use}), on images of as many bands."
                )
            started.append(own if id(weight) in head else value)
        return started

    def _model(self, network: Network, fit: FitResult) -> Any:
        """The network of the source for the images of `network`, with the weights of `fit`."""
        family = family_of(self.source.config.model)
        assert isinstance(family, NetworkFamily)
        family = family.without_pretrained_weights()  # they would be replaced at once
        model = family.build(input_shape=network.input_shape, classes=len(self.source.info.classes))
        fit.verify()
        try:
            model.load_weights(fit.weights)
        except ValueError as error:
            raise ConfigError(
                f"{self.source.what}: its weights do not fit images of {network.input_shape[-1]} bands "
                f"({reason_of(error)})."
            ) from error
        except Exception as error:  # h5py and Keras raise whatever they meet
            raise fit.damaged(f"not the weights of a network ({reason_of(error)})") from None
        return model


def _last_layer(model: Any) -> set[int]:
    """`id` of each weight of the last layer that has any, in networks within the network too."""
    layers = model._flatten_layers(include_self=False, recursive=True)
    *_, last = (layer for layer in layers if layer.weights and not getattr(layer, "layers", None))
    return {id(weight) for weight in last.weights}
