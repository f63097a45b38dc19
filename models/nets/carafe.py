"""Upsampling with kernels predicted per position, and the two plain ways that it is measured against.

CARAFE (Wang et al., ICCV 2019): each fine pixel is a weighted mean of the coarse pixels around it, with weights that a
small convolution predicts from the map itself, softmax-normalised. The kernels are the parameters of that position, so
this is the row of pixel-level dynamic parameters; the compute is the same for every input.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WAYS = ("carafe", "bilinear", "deconv")


class Carafe(nn.Module):
    """`factor` times finer with predicted kernels of `size` x `size` coarse pixels."""

    def __init__(self, channels: int, *, factor: int, size: int = 3, squeezed: int = 16) -> None:
        """`channels` of the guide, from which kernels are predicted; any map of its size can be made finer."""
        super().__init__()
        self.factor, self.size = factor, size
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.predict = nn.Conv2d(squeezed, (factor * size) ** 2, 3, padding=1)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """[b, c, h, w] and [b, channels, h, w] to [b, c, h * factor, w * factor]."""
        kernels = self.predict(F.relu(self.squeeze(guide))).unflatten(1, (self.size**2, self.factor**2))
        padded = F.pad(x, [self.size // 2] * 4, mode="replicate")
        # Ends counted from behind, not from the map's own size: so a graph's shapes can be told without running it.
        steps = [slice(first, first - self.size + 1 or None) for first in range(self.size)]
        around = torch.stack([padded[:, :, down, right] for down in steps for right in steps], dim=2)
        # One small product a position, [channels, size^2] by [size^2, factor^2]: many times faster than to multiply and
        # add whole maps.
        weights = kernels.softmax(dim=1).to(x.dtype).permute(0, 3, 4, 1, 2)
        fine = (around.permute(0, 3, 4, 1, 2) @ weights).permute(0, 3, 4, 1, 2)
        return F.pixel_shuffle(torch.flatten(fine, 1, 2), self.factor)


class Bilinear(nn.Module):
    """No parameters at all."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """[b, c, h, w] to [b, c, h * factor, w * factor]; the guide isn't looked at."""
        return F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)


class Deconv(nn.Module):
    """A learned kernel per channel, the same at every position; starts as bilinear."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.ConvTranspose2d(
            channels, channels, 2 * factor, factor, padding=factor // 2, groups=channels, bias=False
        )
        ramp = 1 - (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
        self.conv.weight.data.copy_((ramp[:, None] * ramp).expand(channels, 1, -1, -1))

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """[b, channels, h, w] to [b, channels, h * factor, w * factor]."""
        made: Tensor = self.conv(x)
        return made


def upsampling(way: str, channels: int, guide: int, factor: int) -> nn.Module:
    """One of `WAYS`."""
    if way == "carafe":
        return Carafe(guide, factor=factor)
    return Bilinear(factor) if way == "bilinear" else Deconv(channels, factor)
