"""What may be done to a package, and how that is named."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """What is done to a package, in this order; None leaves a step out.

    Attributes:
        prune: share of the channels to take out, in 0..1.
        low_rank: share of its multiply-adds that a factorised convolution keeps at most, in 0..1.
        quantize: `int8`.
    """

    prune: float | None = None
    low_rank: float | None = None
    quantize: str | None = None

    @property
    def suffix(self) -> str:
        """For the new name: `prune50-lowrank50-int8`."""
        parts = [("prune", self.prune), ("lowrank", self.low_rank)]
        named = [f"{name}{round(share * 100)}" for name, share in parts if share is not None]
        return "-".join([*named, *([self.quantize] if self.quantize else [])])

    @property
    def told(self) -> dict[str, Any]:
        """For the manifest's provenance."""
        given = {"prune": self.prune, "low_rank": self.low_rank, "quantize": self.quantize}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def arguments(self) -> str:
        """As the command line takes them."""
        return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in self.told.items())
