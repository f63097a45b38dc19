"""The last level of refinement: single points of the map, where the likeliest class is hardly ahead of the next.

PointRend (Kirillov et al., CVPR 2020): a small perceptron that sees one point at a time, with what the map says there
and fine features, run for the most uncertain points of the finer map only. A point here is a pixel of the map at half
size; it is given as its 2 x 2 pixels of the frame, so that one look at the surroundings serves all four. Fine features
are the pixels of the frame around it, as they are: nothing has to be computed where no point is asked for.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEIGHT, WIDTH = 180, 240
"""Of the map at half size."""
EACH = 64
"""Points in a row of the ragged stage: a row is 1.6 million multiplications. One point a row would be thousands of
rows a frame, each with copies and bookkeeping that cost more than its 26 thousand multiplications."""
ROWS = 64
"""Rows of a frame, so 4096 points of 43200: more are not worth knowing of (the card has the measurement)."""
PATCH = 8
"""Pixels of the frame along a side of what a point sees: its own two and three around."""
AROUND = 3
"""Pixels of the map along a side of what it is told."""


class Points(nn.Module):
    """What the map's logits and the frame's pixels around points say, to each point's four pixels."""

    def __init__(self, classes: int, *, hidden: int = 64, fine: int = 48) -> None:
        super().__init__()
        self.classes = classes
        self.told = nn.Linear(classes * AROUND**2, hidden)
        self.seen = nn.Linear(3 * PATCH**2, fine)
        self.mix = nn.Linear(hidden + fine, hidden)
        self.change = nn.Linear(hidden, classes * 4)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        # Of bilinear upsampling by two: the weights of the 3 x 3 logits around for each of the four pixels.
        ramp = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
        kernels = torch.einsum("ay,bx->yxab", ramp, ramp).reshape(AROUND**2, 4)
        self.register_buffer("bilinear", kernels, persistent=False)

    def forward(self, told: Tensor, seen: Tensor) -> Tensor:
        """Logits [k, 9, classes] and pixels 0..255 [k, 192] around k points to logits [k, 4, classes]."""
        start = (told.transpose(1, 2) @ self.get_buffer("bilinear")).transpose(1, 2)
        plain = (told - told.mean(dim=2, keepdim=True)) / 4
        x = torch.cat([self.told(plain.flatten(1)), self.seen(seen / 64 - 2)], dim=1)
        x = F.relu(self.mix(F.relu(x)))
        made: Tensor = start + self.change(x).unflatten(1, (4, self.classes))
        return made


def margins(logits: Tensor) -> Tensor:
    """How far ahead the likeliest class is of the next, 0..1, of logits [b, classes, h, w]: [b, h * w]."""
    best = logits.amax(dim=1, keepdim=True)
    shares = (logits - best).exp()
    # The two largest without sorting every pixel's classes, which takes ONNX Runtime as long as all the rest.
    second = torch.where(shares < 1, shares, torch.zeros(())).amax(dim=1)
    return ((1 - second) / shares.sum(dim=1)).flatten(1)


def told_at(logits: Tensor, spots: Tensor) -> Tensor:
    """Logits [b, classes, 180, 240] around spots, int64 [b, k] in 0..43199: [b, k, 9, classes]; edges go on outside."""
    padded = F.pad(logits, [AROUND // 2] * 4, mode="replicate").permute(0, 2, 3, 1)
    return _taken(padded, spots, AROUND, 1)


def packed(pixels: Tensor) -> Tensor:
    """Bytes [.., n, 3] as float32 [.., n], exactly: states are float32, and three times as many would be kept."""
    red, green, blue = pixels.float().unbind(dim=-1)
    return (red * 256 + green) * 256 + blue


def unpacked(pixels: Tensor) -> Tensor:
    """What `packed` packed, [k, n] to float32 [k, 3 n]: pixel by pixel."""
    rest = (pixels / 256).floor()
    red = (rest / 256).floor()
    return torch.stack([red, rest - red * 256, pixels - rest * 256], dim=2).flatten(1)


def seen_at(frame: Tensor, spots: Tensor) -> Tensor:
    """Pixels of frames [b, 360, 480, 3] around spots: [b, k, 64, 3], 0 outside."""
    margin = (PATCH - 2) // 2
    padded = F.pad(frame, (0, 0, *[margin] * 4))
    return _taken(padded, spots, PATCH, 2)


def _taken(padded: Tensor, spots: Tensor, side: int, step: int) -> Tensor:
    """Squares of `side` from maps [b, h, w, c], one for each spot: [b, k, side * side, c].

    `step` pixels of the maps lie between a spot and the next.
    """
    batch, width = padded.shape[0], padded.shape[2]
    size = padded.shape[1] * padded.shape[2]
    steps = torch.arange(side)
    around = (steps[:, None] * width + steps).flatten()
    first = spots // WIDTH * (step * width) + spots % WIDTH * step
    first = first + torch.arange(batch)[:, None] * size
    found: Tensor = padded.flatten(0, 2)[first[:, :, None] + around]
    return found


def replaced(answer: Tensor, spots: Tensor, classes: Tensor, probability: Tensor) -> Tensor:
    """The answer [b, 2, 360, 480] with the four pixels of spots [b, k] replaced where their probability isn't 0.

    `classes` and `probability` are [b, k, 4]. Each spot may be named once.
    """
    quads = answer.unflatten(2, (HEIGHT, 2)).unflatten(4, (WIDTH, 2)).permute(0, 2, 4, 1, 3, 5)
    flat = quads.reshape(-1, 8)
    places = (spots + torch.arange(spots.shape[0])[:, None] * (HEIGHT * WIDTH)).flatten()
    given = torch.cat([classes, probability], dim=2).flatten(0, 1)
    known = (probability > 0).flatten(0, 1).repeat(1, 2)
    flat = flat.index_put((places,), torch.where(known, given, flat[places]))
    made: Tensor = flat.view(-1, HEIGHT, WIDTH, 2, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(-1, 2, 2 * HEIGHT, 2 * WIDTH)
    return made
