"""The weights of a run that was trained before, for another one to start from: fine-tuning, on other data or the same.

On other data each fold starts from the network of that run's fold 0. On the same data and folds, fold f starts from
fold f, which has not seen the rows that fold f validates. On the same data with other folds no network can promise
that, at whatever remove, and the run is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skyfold.config.run import RunConfig
from skyfold.errors import ConfigError
from skyfold.models import NetworkFamily, family_of
from skyfold.store.fits import FitFiles
from skyfold.store.folds import Folds
from skyfold.store.runs import RunInfo, read_info
from skyfold.training.input_normalization import normalization_of
from skyfold.training.objective import Objective

if TYPE_CHECKING:
    from skyfold.training.network import Network


def find_init_weights(objective: Objective, data_folders: Path, folds: Folds, checksum: str) -> InitWeights:
    """The run that `model.init_from` names, from `data_folders`/<data>/<run>; nothing is read from its weights yet.

    checksum: of the training arrays. OofMismatch where there is no such run, ConfigError where it will not do.
    """
    config = objective.config
    assert config.model.init_from is not None
    init = config.model.init_from
    own = config.data.folder
    data = init.data or own
    what = f"model.init_from: the run '{init.run}' on {data}"
    info = read_info(data_folders / data / init.run)
    if info.kind != "run":
        raise ConfigError(f"{what} is a {info.kind} and has no weights. Name a trained run.")
    if info.task != config.task:
        raise ConfigError(
            f"{what} has task: {info.task}, '{config.name}' task: {config.task}. Name a run of that task."
        )
    same_data = data == own or (bool(checksum) and info.fingerprint.data == checksum)
    _refuse_leak(config, info, data_folders, folds, same_data=same_data)
    source = RunConfig.model_validate(info.config)
    files = {}
    for fold in range(folds.k) if same_data else (0,):
        for seed in config.training.seeds:
            theirs = seed if seed in source.training.seeds else source.training.seeds[0]
            files_of_fit = FitFiles(data_folders / data / init.run / "models", fold, theirs)
            found = files_of_fit.result(info.fingerprint.of("folds"))
            if found is None:
                raise ConfigError(f"{what} has not finished fold {fold} with seed {theirs}. Train it first.")
            files[fold, seed] = found.weights
    if normalization_of(source) != objective.normalization:
        raise ConfigError(
            f"{what} was trained on images normalized as {normalization_of(source)}, not {objective.normalization}. "
            f"Set image.normalization: {normalization_of(source)}."
        )
    if source.frame_adapter != config.frame_adapter:
        raise ConfigError(
            f"{what} was trained through another frame adapter, {source.frame_adapter}. Set frame_adapter to it."
        )
    return InitWeights(what, source, info.classes, files, {path: _sha256(path) for path in set(files.values())})


def _refuse_leak(config: RunConfig, info: RunInfo, data_folders: Path, folds: Folds, *, same_data: bool) -> None:
    """ConfigError where a run that this one descends from has learned from rows that this one's folds validate."""
    own, fold_by_fold = config.data.folder, same_data
    while True:
        if same_data and not (fold_by_fold and info.fingerprint.folds == folds.hash()):
            raise ConfigError(
                f"model.init_from: the run '{info.name}' was trained on {own} with other folds "
                f"({info.fingerprint.folds}) than folds.csv ({folds.hash()}), or by way of other data. It has seen "
                f"rows that '{config.name}' validates, and their score would be too good. Retrain it on these "
                "folds, or start from another run."
            )
        source = RunConfig.model_validate(info.config)
        if source.model.init_from is None:
            return
        data = source.model.init_from.data or source.data.folder
        info = read_info(data_folders / data / source.model.init_from.run)
        same_data = data == own
        fold_by_fold = fold_by_fold and same_data


@dataclass(frozen=True)
class InitWeights:
    """what: the run, in words; config and classes: its own; files: of its weights, by fold and seed of the run that
    starts, fold 0 for all folds where it has no other; sha256: of each file."""

    what: str
    config: RunConfig
    classes: tuple[str, ...]
    files: Mapping[tuple[int, int], Path]
    sha256: Mapping[Path, str]

    @property
    def provenance(self) -> str:
        """Changes with any byte of the weights."""
        return " ".join(f"{path.name}:{self.sha256[path]}" for path in sorted(self.sha256))

    def load(self, network: Network, classes: tuple[str, ...], *, fold: int, seed: int) -> list[np.ndarray]:
        """For `network`, whose classes these are, as `Network.set_weights` takes them.

        Where the run had other classes, the last layer keeps what `network` has. ConfigError where another one does
        not fit.
        """
        path = self.files.get((fold, seed)) or self.files[0, seed]
        theirs = self._model(network, path)
        head = {id(weight) for weight in _last_layer(network.model).weights} if classes != self.classes else set()
        if len(theirs.weights) != len(network.model.weights):
            raise ConfigError(
                f"{self.what} has {len(theirs.weights)} arrays of weights, this network {len(network.model.weights)}. "
                f"Use its model: {self._spoken()}."
            )
        started = []
        for value, weight, own in zip(theirs.get_weights(), network.model.weights, network.weights(), strict=True):
            if id(weight) not in head and value.shape != own.shape:
                raise ConfigError(
                    f"{self.what}: its {weight.path} is of shape {value.shape}, this network's of {own.shape}. Use its "
                    f"model ({self._spoken()}), on images of as many bands."
                )
            started.append(own if id(weight) in head else value)
        return started

    def _model(self, network: Network, path: Path) -> Any:
        family = family_of(self.config.model)
        assert isinstance(family, NetworkFamily)
        # Pretrained weights would be replaced at once.
        family = family.without_pretrained_weights()
        model = family.build(input_shape=network.model.input_shape[1:], classes=len(self.classes))
        try:
            model.load_weights(path)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"{self.what}: its weights do not fit images of {network.model.input_shape[-1]} bands ({reason})."
            ) from error
        return model

    def _spoken(self) -> str:
        options = ", ".join(f"{key}: {value}" for key, value in self.config.model.options.items())
        return f"{self.config.model.family} with {options or 'no options'}"


def _last_layer(model: Any) -> Any:
    return [layer for layer in model._flatten_layers(include_self=False, recursive=True) if _owns_weights(layer)][-1]


def _owns_weights(layer: Any) -> bool:
    return bool(layer.weights) and not getattr(layer, "layers", None)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
