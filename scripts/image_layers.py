"""Size of an image by layer, as a Markdown table: `python scripts/image_layers.py DIR` of a `dir:` image.

Layers are told packed, as a registry moves them, and unpacked, as they lie on a disk.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

MB = 1e6
_BLOCK = 1 << 20


def layers(image: Path) -> list[tuple[str, float, float]]:
    """What made each layer that holds files, with its size packed and unpacked, in MB."""
    manifest: dict[str, Any] = json.loads((image / "manifest.json").read_text())
    config: dict[str, Any] = json.loads(blob(image, manifest["config"]["digest"]).read_text())
    made = [step.get("created_by", "") for step in config["history"] if not step.get("empty_layer")]
    return [
        (by, layer["size"] / MB, unpacked(blob(image, layer["digest"])) / MB)
        for by, layer in zip(made, manifest["layers"], strict=True)
    ]


def blob(image: Path, digest: str) -> Path:
    """The file of a digest."""
    return image / digest.partition(":")[2]


def unpacked(layer: Path) -> int:
    """Bytes of a layer's archive without its compression."""
    with layer.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if not packed:
        return layer.stat().st_size
    with gzip.open(layer) as archive:
        return sum(len(block) for block in iter(lambda: archive.read(_BLOCK), b""))


def main(image: Path) -> None:
    """Print the table."""
    found = layers(image)
    print("| layer | MB packed | MB unpacked |\n| --- | --- | --- |")
    for by, packed, plain in found:
        print(f"| `{by[:90]}` | {packed:.1f} | {plain:.1f} |")
    print(f"| all | {sum(one[1] for one in found):.1f} | {sum(one[2] for one in found):.1f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
