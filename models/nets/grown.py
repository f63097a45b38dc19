"""Networks grown on the trained, frozen first stage of another: only what is new is trained, on that stage's maps."""

from collections.abc import Mapping

from torch import Tensor, nn

from models.nets.layers import Fuse
from models.nets.multi_exit import FirstStage, MultiExitNet, Stage


class FusedChain(nn.Module):
    """Two maps joined, then layers one after the other."""

    def __init__(self, fuse: Fuse, *layers: nn.Module) -> None:
        super().__init__()
        self.fuse = fuse
        self.chain = nn.Sequential(*layers)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.chain(self.fuse(fine, coarse))  # type: ignore[no-any-return]


class GrownNet(MultiExitNet):
    """A frozen first stage with its exit, and later stages."""

    def __init__(self, trunk: FirstStage, later: list[Stage]) -> None:
        super().__init__([trunk.requires_grad_(False), *later])

    def forward(self, image: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
        """Images uint8 [b, 32, 32, 3] to the logits [b, classes] of every exit, in order.

        From the first stage's state instead of images: those of the later exits only.
        """
        if isinstance(image, Tensor):
            return super().forward(image)
        return self.walk(self.chain()[1:], dict(image))
