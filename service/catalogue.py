"""The models that are served, those that failed to load, and those that were taken out, by name."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import NotReady, PackageError, UnknownModel
from service.model import Model, find, prepare
from service.package import manifest
from service.settings import Settings
from service.telemetry import FAILED, READY, UNLOADED, Metrics

log = logging.getLogger(__name__)


@dataclass
class Catalogue:
    """What is told of each name here is what clients, the index and `offramp_model_state` see.

    Attributes:
        models: loaded and warm.
        failed: by folder, why a package isn't served.
        withdrawn: models that take no new work until they are put back.
    """

    settings: Settings
    metrics: Metrics
    models: dict[str, Model] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)

    def load(self) -> None:
        """Load every package; one that fails is noted and left out. Blocks for seconds.

        Raises:
            SettingsError: not the device that was asked for.
            PackageError: a models folder that doesn't exist.
        """
        for path in find(self.settings.models):
            try:
                model = self.prepare(path)
            except PackageError as error:
                log.error("package %s is left out: %s", path.name, error.detail)
                continue
            if model.name in self.models:
                log.error("package %s is left out: %s is served already", path, model.name)
                continue
            self.put(model)

    def prepare(self, path: Path) -> Model:
        """Load one package, but don't serve it yet. Blocks for a second.

        Raises:
            PackageError: it can't be served; that is noted.
        """
        try:
            model = prepare(path, self.settings, self.metrics)
        except PackageError as error:
            self.failed[path.name] = error.detail
            if path.name not in self.models:
                self.metrics.tell_state(path.name, FAILED)
            raise
        self.failed.pop(path.name, None)
        if path.name != model.name:
            self.metrics.forget_state(path.name)
        return model

    def put(self, model: Model) -> None:
        """Serve a model from now on."""
        self.models[model.name] = model
        self.withdrawn.discard(model.name)
        self.metrics.tell_state(model.name, READY)
        log.info("loaded %s %s: %s", model.name, model.package.manifest.version, _stage_table(model))

    def withdraw(self, name: str) -> None:
        """Take no new work for a model; what it has is finished.

        Raises:
            NotReady, UnknownModel: see `model`.
        """
        self.model(name)
        self.withdrawn.add(name)
        self.metrics.tell_state(name, UNLOADED)

    def put_back(self, name: str) -> None:
        """Take work again for a model that was withdrawn and is still there."""
        self.withdrawn.discard(name)
        self.metrics.tell_state(name, READY)

    def model(self, name: str) -> Model:
        """A model by name.

        Raises:
            NotReady: the model failed to load (with the reason), or is unloaded.
            UnknownModel: no package of that name.
        """
        if name in self.withdrawn:
            raise NotReady(f"model {name!r} is unloaded")
        if name in self.models:
            return self.models[name]
        if name in self.failed:
            raise NotReady(f"model {name!r} failed to load: {self.failed[name]}")
        raise UnknownModel(f"no model {name[:100]!r}; there are {sorted(self.models)}", models=sorted(self.models))

    def default(self, modality: str) -> Model:
        """The first model, by name, that classifies what is of a modality; if none does, the first that reads it.

        Raises:
            UnknownModel: no model reads it.
        """
        readers = [model for model in self.serving if model.package.manifest.modality == modality]
        if not readers:
            raise UnknownModel(f"no model reads {modality}")
        return min(readers, key=lambda model: (model.package.manifest.task != "classification", model.name))

    @property
    def serving(self) -> list[Model]:
        """The models that take work."""
        return [model for name, model in self.models.items() if name not in self.withdrawn]

    def folder(self, name: str) -> Path:
        """Where the package of a model lies: the folder whose manifest has the name, or that is called so. Reads files.

        Raises:
            UnknownModel: there is none.
        """
        paths = find(self.settings.models)
        named = [path for path in paths if _name(path) == name] or [path for path in paths if path.name == name]
        if not named:
            raise UnknownModel(f"no package {name[:100]!r} in the models' folders", models=sorted(self.models))
        return named[0]


def _name(path: Path) -> str | None:
    """The name in a package's manifest; None if it can't be read."""
    try:
        file = path / manifest.FILE
        return manifest.parse(file.read_text("utf-8", "replace"), file).name
    except (OSError, PackageError):
        return None


def _stage_table(model: Model) -> str:
    """Each stage with its MACs and its measured time for one row, as logged at load."""
    graph, times = model.course.graph, model.course.times
    stages = zip(graph.names, graph.macs, times, strict=True)
    return ", ".join(f"{name} {macs / 1e6:.1f} MMACs {time.seconds(1) * 1e3:.2f} ms" for name, macs, time in stages)
