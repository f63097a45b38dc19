"""Batch norm folded into the convolution before it, for export."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.nets.layers import ConvNorm, NormedKernels
from models.nets.lite import Unit


def folded(net: nn.Module) -> nn.Module:
    """A copy in evaluation mode in which every ConvNorm is one convolution with bias, and its pool.

    Other layers with a norm put it into their kernels themselves.

    A max-pool may stand between: the factor of a norm without learned scale is positive, so it passes through a max.
    Raises ValueError for a norm with a negative scale.
    """
    fused = copy.deepcopy(net).eval().requires_grad_(False)
    for unit in fused.modules():
        if isinstance(unit, ConvNorm) and isinstance(unit.norm, nn.BatchNorm2d):
            if not bool(torch.all(unit.norm.weight > 0)):
                raise ValueError("a batch norm with a negative scale can't pass through a max-pool")
            unit.conv = fuse_conv_bn_eval(unit.conv, unit.norm)
            unit.norm = nn.Identity()
        if isinstance(unit, NormedKernels):
            unit.fold_norm()
        if isinstance(unit, Unit) and isinstance(unit.norm, nn.BatchNorm2d):
            unit.conv = fuse_conv_bn_eval(unit.conv, unit.norm)
            unit.norm = nn.Identity()
    return fused
