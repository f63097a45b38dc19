"""A compressed package from a package: new graphs, a manifest that says so, and everything calibrated again."""

import importlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import ModelProto

from models.compress import card
from models.compress.graphs import Graph, checked
from models.compress.lowrank import factorise
from models.compress.options import Options
from models.compress.prune import Work, prune
from models.compress.quantize import quantised
from models.compress.walks import StageInputs, Walks, rework, training_inputs
from models.macs import macs_per_row
from models.package import digest
from service.package.load import Package, load
from service.package.manifest import FILE

Content = dict[str, Any]


class NoRecipe(ValueError):
    """A package can't be calibrated again: its manifest names no recipe that can."""


def compress(package: Package, options: Options, folder: Path, name: str) -> Package:
    """Write the compressed package into `folder`; as the server reads it.

    Raises:
        NoRecipe: nothing could calibrate it again.
        NoSamples: there are no inputs to compress by.
    """
    recipe = _recipe(package)
    graphs = compressed(package, options, Walks.of(package, training_inputs(package)))
    folder.mkdir(parents=True, exist_ok=True)
    for stage in package.manifest.stages:
        onnx.save(graphs[stage.name], folder / stage.graph)
    for file in (package.manifest.labels, package.manifest.calibration.file):
        shutil.copy(package.path / file, folder / file)
    draft = _recounted(yaml.safe_load((package.path / FILE).read_text()), graphs, folder)
    _write(draft, folder)
    recipe.recalibrate(folder)
    # What the recipe knows is its own package: name and origin are said again.
    _write(_told(yaml.safe_load((folder / FILE).read_text()), package, options, name), folder)
    made = load(folder)
    card.write(made, package, options)
    return made


def compressed(package: Package, options: Options, walks: Walks) -> dict[str, ModelProto]:
    """The compressed graphs, by stage."""
    graphs = {stage.name: onnx.load(package.path / stage.graph) for stage in package.manifest.stages}

    def change(name: str, model: ModelProto, inputs: StageInputs) -> ModelProto:
        print(f"  {name}: {macs_per_row(model) / 1e6:.1f} MMACs", end="", flush=True)
        changed = compressed_stage(model, options, inputs)
        print(f" to {macs_per_row(changed) / 1e6:.1f}", flush=True)
        return changed

    return rework(walks, graphs, change)


def compressed_stage(model: ModelProto, options: Options, inputs: StageInputs) -> ModelProto:
    """One stage's graph, compressed; left as it is if no walk came by."""
    if not len(next(iter(inputs.now.values()))):
        return model
    work = Work(Graph(model), Graph(model), inputs)
    if options.prune:
        prune(work, options.prune)
    if options.low_rank:
        factorise(work, options.low_rank)
    made = checked(work.now)
    return quantised(made, inputs.now) if options.quantize else made


def _recipe(package: Package) -> Any:
    name = str(package.manifest.provenance.get("recipe"))
    try:
        recipe = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise NoRecipe(f"{package.name}: provenance.recipe is {name}, which can't be imported") from error
    if not hasattr(recipe, "recalibrate"):
        raise NoRecipe(f"{package.name}: its recipe {name} has no function recalibrate(folder)")
    return recipe


def _recounted(content: Content, graphs: Mapping[str, ModelProto], folder: Path) -> Content:
    for stage in content["stages"]:
        stage["macs_per_row"] = macs_per_row(graphs[stage["name"]])
        stage["sha256"] = digest(folder / stage["graph"])
    return content


def _told(content: Content, package: Package, options: Options, name: str) -> Content:
    content["name"] = name
    if options.quantize:
        content["precision"] = options.quantize
    made = dict(package.manifest.provenance)
    made["compression"] = [*made.get("compression", []), {"of": package.name, "sha256": package.digest} | options.told]
    content["provenance"] = made
    return content


def _write(content: Content, folder: Path) -> None:
    (folder / FILE).write_text(yaml.safe_dump(content, sort_keys=False, width=110))
