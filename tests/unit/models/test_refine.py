"""The refining net: what tiles are, what they are told, and graphs that say what the nets say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models import export
from models.nets.carafe import WAYS, Carafe, Deconv, upsampling
from models.nets.lite_features import LiteFeatures
from models.nets.refine import Coarse, Grid, Tile, answered, refined
from models.nets.refine_points import EACH, ROWS, Points, replaced, seen_at, told_at
from models.nets.refine_stages import CoarseStage, PasteStage, PlaceStage, PointStage, TileStage, cut, whole

GRID = Grid()


@pytest.fixture(scope="module")
def nets() -> tuple[Coarse, Tile]:
    torch.manual_seed(0)
    tile = Tile(LiteFeatures(8), 11)
    torch.nn.init.normal_(tile.change.weight, std=0.1)
    return Coarse(LiteFeatures(16), 11).eval(), tile.eval()


def test_tiles_cover_a_frame_and_join_to_it() -> None:
    frame = torch.rand(2, 3, 180, 240)
    tiles = cut(frame)
    assert tiles.shape == (2, GRID.tiles, 3, 20, 24)
    assert torch.equal(GRID.joined(tiles), frame)
    top, left, bottom, right = GRID.boxes()[11].tolist()
    assert (top, left, bottom, right) == pytest.approx((1 / 9, 0.1, 2 / 9, 0.2))
    assert torch.equal(tiles[:, 11], frame[:, :, 20:40, 24:48])


def test_a_tile_is_told_of_its_cells_and_one_around() -> None:
    cells = torch.arange(45 * 60, dtype=torch.float32).view(1, 1, 45, 60)
    windows = GRID.windows(cells)
    assert windows.shape == (1, 90, 1, 7, 8)
    assert torch.equal(windows[0, 11, 0], cells[0, 0, 4:11, 5:13])
    assert not windows[0, 0, 0, 0].any(), "beyond the frame there is nothing"
    assert GRID.means(torch.ones(2, 90, 120)).shape == (2, 90)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_upsampling_keeps_a_flat_map_flat(way: str) -> None:
    torch.manual_seed(1)
    made = upsampling(way, 4, 6, 2)(torch.full((2, 4, 5, 7), 3.0), torch.randn(2, 6, 5, 7))
    assert made.shape == (2, 4, 10, 14)
    assert torch.allclose(made[:, :, 1:-1, 1:-1], torch.tensor(3.0), atol=1e-5)


def test_predicted_kernels_are_means_of_the_pixels_around() -> None:
    torch.manual_seed(2)
    x, guide = torch.randn(1, 2, 4, 4), torch.randn(1, 6, 4, 4)
    made = Carafe(6, factor=2)(x, guide)
    around = torch.nn.functional.pad(x, [1] * 4, mode="replicate")
    highest = torch.nn.functional.max_pool2d(around, 3, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    lowest = -torch.nn.functional.max_pool2d(-around, 3, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert bool(((made <= highest + 1e-5) & (made >= lowest - 1e-5)).all())


def test_a_deconvolution_starts_as_bilinear() -> None:
    x = torch.randn(1, 3, 6, 6)
    bilinear = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    assert torch.allclose(Deconv(3, 2)(x, x)[:, :, 1:-1, 1:-1], bilinear[:, :, 1:-1, 1:-1], atol=1e-5)


def test_an_answer_is_the_likeliest_class_and_its_probability() -> None:
    logits = torch.randn(2, 11, 8, 8)
    made = answered(logits, 2, 1.5)
    fine = torch.nn.functional.interpolate(logits / 1.5, scale_factor=2.0, mode="bilinear", align_corners=False)
    probability, place = fine.softmax(dim=1).max(dim=1)
    assert torch.equal(made[:, 0], place.float())
    assert torch.allclose(made[:, 1], probability, atol=1e-6)


@torch.no_grad()
def test_stages_walk_to_what_the_nets_say(nets: tuple[Coarse, Tile], tmp_path: Path) -> None:
    coarse, tile = nets
    frame = torch.randint(0, 256, (2, 360, 480, 3), dtype=torch.uint8)
    image = frame[:, ::2, ::2].contiguous()
    torch.manual_seed(3)
    points = Points(11).eval()
    torch.nn.init.normal_(points.change.weight, std=0.3)
    stages = (
        CoarseStage(coarse, 1.2).eval(),
        TileStage(tile).eval(),
        PasteStage(1.2).eval(),
        PointStage(points, 0.9).eval(),
        PlaceStage().eval(),
    )
    state: dict[str, Tensor] = {"image": image, "frame": frame}
    walked: export.Arrays = {"image": image.numpy(), "frame": frame.numpy()}
    pixels = cut(frame.permute(0, 3, 1, 2)).permute(0, 1, 3, 4, 2).contiguous()
    for stage in stages:
        inputs = tuple(state[name] for name in stage.ports.inputs)
        file = tmp_path / f"{stage.name}.onnx"
        export.write_stage(stage, inputs, file)
        export.fold_constants(file)
        state |= dict(zip(stage.ports.outputs, stage(*inputs), strict=True))
        walked |= export.run(export.session(file), walked)
        if stage.name == "coarse":
            state |= {"pixels": pixels.flatten(0, 1), "told": state["told"].flatten(0, 1)}
            walked |= {"pixels": pixels.flatten(0, 1).numpy(), "told": walked["told"].reshape(-1, 32, 7, 8)}
            assert walked["doubt"].shape == (2, GRID.tiles)
            assert np.array_equal(walked["places"][0], GRID.boxes().numpy())
        if stage.name == "tile":
            state["change"] = state["change"].unflatten(0, (2, GRID.tiles))
            walked["change"] = walked["change"].reshape(2, GRID.tiles, 11, 20, 24)
        if stage.name == "paste":
            spots = torch.from_numpy(walked["spots"]).flatten(1).long()
            for name in ("around", "seen"):
                walked[name] = walked[name].reshape(-1, *walked[name].shape[2:])
                state[name] = state[name].flatten(0, 1)
        if stage.name == "point":
            state["dots"] = state["dots"].unflatten(0, (2, ROWS))
            walked["dots"] = walked["dots"].reshape(2, ROWS, EACH, 8)
    own = whole(coarse, tile, image.permute(0, 3, 1, 2).float(), frame.permute(0, 3, 1, 2).float())
    drawn = answered(own, 2, 1.2)
    assert np.abs(drawn.numpy()[:, 1] - walked["drawn"][:, 1]).max() < export.TOLERANCE
    # Points of nearly the same doubt may change places between torch and the graph: the graph's are asked for.
    around, seen = told_at(own, spots).flatten(0, 1), seen_at(frame, spots).flatten(2).flatten(0, 1)
    probability, place = (points(around, seen.float()) / 0.9).softmax(dim=2).max(dim=2)
    dotted = replaced(drawn, spots, place.float().unflatten(0, (2, -1)), probability.unflatten(0, (2, -1)))
    assert np.abs(dotted.numpy()[:, 1] - walked["answer"][:, 1]).max() < export.TOLERANCE
    assert np.abs(walked["answer"][:, 1] - walked["drawn"][:, 1]).max() > 0.01


def test_tiles_that_arent_refined_change_nothing(nets: tuple[Coarse, Tile]) -> None:
    cells = torch.randn(1, 11, 90, 120)
    change = torch.zeros(1, GRID.tiles, 11, 20, 24)
    change[:, 11] = 5.0
    difference = refined(cells, GRID.joined(change)) - refined(cells, torch.zeros(()))
    assert float(difference[:, :, 20:40, 24:48].mean()) == pytest.approx(5.0)
    assert float(difference.sum()) == pytest.approx(5.0 * 11 * 20 * 24, rel=1e-4)
