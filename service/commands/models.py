"""`offramp models`: the packages found, or what is wrong with them."""

from __future__ import annotations

import argparse

from service.errors import PackageError
from service.model import find
from service.package.curves import Curve
from service.package.load import Package, load
from service.runtime.onnx import PROVIDERS
from service.settings import Settings

NAME = "models"
HELP = "list the packages, with what they cost by default"


def add_arguments(_: argparse.ArgumentParser) -> None:
    """No flags of its own."""


def run(_: argparse.Namespace, settings: Settings) -> int:
    """Print a line a package; returns 1 if one of them can't be served."""
    broken = 0
    print(f"{'name':<28}{'version':<9}{'modality':<10}{'family':<16}{'exits':>5}{'full MMACs':>12}{'default':>9}")
    for path in find(settings.models):
        try:
            print(_line(load(path), PROVIDERS[settings.device]))
        except PackageError as error:
            broken += 1
            print(f"{path.name:<28}{error.detail}")
    return 1 if broken else 0


def _line(package: Package, provider: str) -> str:
    described, full = package.manifest, package.graph.full_macs
    default = Curve(
        package.record, full, package.digest, provider, default_agreement=described.default_agreement
    ).default
    return (
        f"{described.name:<28}{described.version:<9}{described.modality:<10}{described.family:<16}"
        f"{len(package.graph.exits):>5}{full / 1e6:>12.1f}{default.mean_macs / full:>9.0%}"
    )
