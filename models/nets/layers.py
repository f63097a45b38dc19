"""The layers of the networks: convolution units, whitening stem, heads.

SiLU, not GELU: ONNX Runtime keeps its blocked layout through Sigmoid and Mul, and leaves it for Erf.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


class Norm(nn.BatchNorm2d):
    """Batch norm with a bias and no scale: the next layer can scale, and a positive factor folds through a max."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.1)
        self.weight.requires_grad_(False)


class ConvNorm(nn.Module):
    """Convolution, max-pool of `pool` (1: none), batch norm; no activation. Kernels of 3 keep the size at stride 1."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, pool: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.pool = nn.MaxPool2d(pool) if pool > 1 else nn.Identity()
        self.norm: nn.Module = Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.pool(self.conv(x)))  # type: ignore[no-any-return]


class ConvUnit(ConvNorm):
    """ConvNorm and SiLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(super().forward(x))


class Residual(nn.Module):
    """x + unit(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.unit = ConvUnit(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.unit(x)  # type: ignore[no-any-return]


class Fuse(nn.Module):
    """Joins a fine map [b, f, 15, 15], convolved and pooled, with a coarse one [b, c, 7, 7] into [b, out, 7, 7].

    `strided`: the fine map is convolved in steps of two instead, at a quarter of the cost.
    """

    def __init__(self, fine: int, coarse: int, outputs: int, *, strided: bool = False) -> None:
        super().__init__()
        self.fine = ConvNorm(fine, outputs, stride=2) if strided else ConvNorm(fine, outputs, pool=2)
        self.coarse = ConvNorm(coarse, outputs, kernel=1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return F.silu(self.fine(fine) + self.coarse(coarse))


class NormedKernels(nn.Module):
    """A layer with a norm that it can put into its own kernels, for export."""

    def fold_norm(self) -> None:
        """Change the kernels so that the layer, in evaluation, gives the same without its norm."""
        raise NotImplementedError


class Head(nn.Module):
    """Map [b, channels, h, w] to logits float32 [b, classes]: a 1x1 unit if `hidden` is given, global max, linear.

    The 1x1 unit lets the trunk's map serve the later stages while the head turns it to classes.
    """

    def __init__(self, channels: int, hidden: int | None, classes: int) -> None:
        super().__init__()
        self.turn = ConvUnit(channels, hidden, kernel=1) if hidden else nn.Identity()
        self.linear = nn.Linear(hidden or channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.adaptive_max_pool2d(self.turn(x), 1).flatten(1)).float()  # type: ignore[no-any-return]


class Stem(nn.Module):
    """uint8 [b, 32, 32, 3] RGB to [b, 24, 31, 31]: normalise, 2x2 whitening convolution (fixed), SiLU.

    Whitened patches and their negatives (Page 2019; Jordan 2024) save the first epochs of learning such filters.
    """

    channels = 24

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("inverse_std", 1 / (torch.tensor(STD).view(1, 3, 1, 1) * 255))
        self.mean: Tensor
        self.inverse_std: Tensor
        self.whiten = nn.Conv2d(3, self.channels, 2)
        self.whiten.weight.requires_grad_(False)

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 [b, h, w, 3] to float32 [b, 3, h, w] of zero mean and unit variance."""
        return (image.permute(0, 3, 1, 2).float() - self.mean) * self.inverse_std

    def forward(self, image: Tensor) -> Tensor:
        return F.silu(self.whiten(self.normalise(image)))

    @torch.no_grad()
    def fit(self, images: Tensor, epsilon: float = 5e-4) -> None:
        """Set the filters to the eigenvectors of the 2x2 patches of uint8 [n, h, w, 3], scaled to unit variance."""
        patches = self.normalise(images).unfold(2, 2, 1).unfold(3, 2, 1)
        flat = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, 12).double()
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        filters = (vectors / (values + epsilon).sqrt()).T.flip(0).reshape(12, 3, 2, 2).float()
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        if self.whiten.bias is not None:
            self.whiten.bias.zero_()
