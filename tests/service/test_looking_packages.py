"""The packages that look at photos several times, over HTTP: crops and sizes are chosen by photo and by budget."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.wire import CLIENT, answer, inputs

PACKAGES = ("imagenette-glance", "imagenette-resolution")
PHOTOS = 24


@pytest.fixture(scope="module")
def photos(data_dir: Path) -> list[bytes]:
    """JPEG files of 224x224 that nothing was tuned on."""
    file = data_dir / "imagenette" / "devtest.npz"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    with np.load(file, allow_pickle=False) as archive:
        joined, cuts = archive["jpeg"], archive["offsets"]
        chosen = np.linspace(0, len(cuts) - 2, PHOTOS).astype(int)
        spans = list(pairwise(cuts.tolist()))
        return [joined[spans[row][0] : spans[row][1]].tobytes() for row in chosen]


def walks(url: str, name: str, photos: list[bytes], **budget: Any) -> list[dict[str, Any]]:
    document = {"inputs": inputs(*photos), "budget": budget, "explain": True}
    answers: list[dict[str, Any]] = answer(CLIENT.post(f"{url}/v1/models/{name}/predict", json=document))["answers"]
    return answers


def seen(one: dict[str, Any]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(tuple(look["box"]), tuple(look["size"])) for step in one["walk"] for look in step["seen"]]


def test_photos_take_different_routes_and_a_budget_changes_them(served: str, name: str, photos: list[bytes]) -> None:
    full = walks(served, name, photos, agreement=1)
    cheaper = walks(served, name, photos, max_drop=0.05)
    assert all(one["compute"]["fraction_of_full"] == 1 for one in full)
    assert len({tuple(step["stage"] for step in one["walk"]) for one in cheaper}) > 1
    assert np.mean([one["compute"]["mmacs"] for one in cheaper]) < 0.7 * full[0]["compute"]["mmacs"]
    held = walks(served, name, photos[:4], compute_mmacs=80)
    assert all(len(one["walk"]) == 1 and one["compute"]["mmacs"] <= 80 for one in held)


def test_explain_tells_what_was_looked_at_and_shows_it(served: str, name: str, photos: list[bytes]) -> None:
    full = walks(served, name, photos, agreement=1)
    for one in full:
        looks = seen(one)
        assert len(looks) == len(one["walk"])
        assert looks[0] == ((0, 0, 224, 224), (96, 96))
        head, data = one["picture"].split(",", 1)
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).format == "PNG"
    if name == "imagenette-resolution":
        assert [size for _, size in seen(full[0])] == [(96, 96), (160, 160), (224, 224)]
    else:
        crops = [{box for box, _ in seen(one)[1:]} for one in full]
        assert all(len(boxes) == 3 for boxes in crops)
        assert len(set(map(frozenset, crops))) > 1, "the policy looks at different places of different photos"


def test_pixels_walk_like_files(served: str, name: str, photos: list[bytes]) -> None:
    lossless = io.BytesIO()
    Image.open(io.BytesIO(photos[0])).save(lossless, "PNG")
    file, again = walks(served, name, [photos[0], lossless.getvalue()], agreement=1)
    assert seen(file) == seen(again)
    assert file["output"]["probability"] == pytest.approx(again["output"]["probability"], abs=1e-3)
