"""The command line of `python -m models.export`: compress a package and calibrate it again."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from models.compress.options import Options
from models.compress.package import NoRecipe, compress
from models.compress.walks import NoSamples
from models.data.folder import DataMissing
from service.errors import PackageError
from service.package.curves import Curve
from service.package.load import Package, load
from service.settings import ZOO


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = _parser()
    args = parser.parse_args(arguments)
    options = Options(prune=args.prune, low_rank=args.low_rank, quantize=args.quantize)
    if not options.told:
        parser.error("nothing to do: give one or more of --quantize, --prune, --low-rank")
    try:
        package = load(named(args.package))
        name = args.name or f"{package.name}-{options.suffix}"
        folder = args.output or Path("build") / name
        made = compress(package, options, folder, name)
    except (PackageError, NoRecipe, NoSamples, DataMissing) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(f"{told(package)}\n{told(made)}\nin {folder}: offramp serve --models {folder}")


def named(package: str) -> Path:
    """The folder of a package that is given by its name in the zoo, or by its folder."""
    return ZOO / package if "/" not in package and (ZOO / package).is_dir() else Path(package)


def told(package: Package) -> str:
    """One line on a package."""
    full = package.graph.full_macs
    described = package.manifest
    default = Curve(package.record, full, package.digest, "", described.precision, described.default_agreement).default
    size = sum((package.path / stage.graph).stat().st_size for stage in package.manifest.stages)
    return (
        f"{package.name}: {full / 1e6:.1f} MMACs in full, {default.mean_macs / 1e6:.1f} by default, "
        f"{size / 1e6:.2f} MB of {package.manifest.precision} graphs"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.export", description="Compress a package and calibrate it again (docs/compression.md)."
    )
    parser.add_argument("package", help="its name in the zoo, or its folder")
    parser.add_argument("--prune", type=_share, metavar="SHARE", help="channels to take out, between 0 and 1")
    parser.add_argument(
        "--low-rank", type=_share, metavar="SHARE", help="multiply-adds that a factorised convolution keeps at most"
    )
    parser.add_argument("--quantize", choices=["int8"], help="convolutions in integers")
    parser.add_argument("--output", type=Path, help="folder to write (default: build/NAME)")
    parser.add_argument("--name", help="of the new package (default: the old one's, and what was done to it)")
    return parser


def _share(text: str) -> float:
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share
