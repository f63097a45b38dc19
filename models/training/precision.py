"""bfloat16 where the processor computes it, float32 where it would only be emulated (a hundred times slower)."""

from functools import cache

import torch


@cache
def compute_dtype() -> torch.dtype:
    """What matrices and convolutions are multiplied in while training on this machine."""
    native = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.bfloat16 if native else torch.float32


def autocast() -> torch.autocast:
    """A context in which a forward pass is computed in `compute_dtype`."""
    dtype = compute_dtype()
    return torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16)
