"""The shipped network, taken back into torch, says what its graphs say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.calibrate import exit_logits
from models.nets.pretrained import EARLY_EXIT, early_exit_net


def test_the_network_is_the_one_that_is_shipped() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    files = [EARLY_EXIT / f"{stage.name}.onnx" for stage in early_exit_net().chain()]
    with torch.no_grad():
        answers = early_exit_net()(torch.from_numpy(images))
    assert np.allclose(torch.stack(answers).numpy(), exit_logits(files, images), atol=1e-4)


def test_graphs_of_another_network_are_refused(tmp_path: Path) -> None:
    for file in EARLY_EXIT.glob("*.onnx"):
        (tmp_path / file.name).write_bytes((EARLY_EXIT / "block5.onnx").read_bytes())
    with pytest.raises(ValueError, match="the network has no"):
        early_exit_net(tmp_path)
