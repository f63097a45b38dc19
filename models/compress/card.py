"""The short card of a compressed package: what was done to which, and what its calibration record says."""

from pathlib import Path

from models.card import table
from models.compress.options import Options
from service.package.curves import Curve, CurvePoint
from service.package.load import Package


def write(package: Package, original: Package, options: Options) -> None:
    """Write README.md into the folder of `package`, which `original` was compressed to."""
    described = package.manifest
    curve = Curve(
        package.record,
        package.graph.full_macs,
        package.digest,
        "",
        described.precision,
        described.default_agreement,
    )
    default = next(point for point in curve.points if point.price == curve.default.price)
    head = ["price per GMAC", "mean MMACs", "accuracy %", "agreement %"]
    rows = [_row("full", curve.points[0]), _row(f"{default.price:.3g} (default)", default)]
    Path(package.path / "README.md").write_text(
        f"# {described.name}\n\n{described.description}\n\n"
        f"Made from {original.name} ({original.digest[:12]}) by `python -m models.export {original.name} "
        f"{options.arguments}`;\nits card tells of data, training and limits. Graphs: {described.precision}, "
        f"{package.graph.full_macs / 1e6:.1f} MMACs "
        f"for the full walk instead of {original.graph.full_macs / 1e6:.1f}.\n\n"
        f"On the {package.record.size} images of the calibration split, by this package's own calibration:\n\n"
        f"{table(head, rows)}\n\nAgreement is with this package's own full walk, not with that of {original.name}.\n"
    )


def _row(name: str, point: CurvePoint) -> list[str]:
    return [name, f"{point.mean_macs / 1e6:.1f}", f"{point.accuracy * 100:.2f}", f"{point.agreement * 100:.2f}"]
