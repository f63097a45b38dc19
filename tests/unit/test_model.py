"""A package as it is prepared for serving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.model import prepare
from service.settings import Settings
from service.telemetry import Metrics
from tests.packages import write_colours


def test_certificates_name_the_precision_of_the_package(tmp_path: Path) -> None:
    def in_int8(content: dict[str, Any]) -> None:
        content["precision"] = "int8"

    model = prepare(write_colours(tmp_path, manifest=in_int8), Settings(lanes=1), Metrics.new())
    assert model.curve.certify("agreement", 0.9, 0.9).precision == "int8"
