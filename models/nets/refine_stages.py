"""The stages of the refining segmentation net as they are exported."""

import torch
from torch import Tensor

from models.export import GraphStage, StagePorts
from models.nets.refine import Coarse, Grid, Tile, answered, refined
from models.nets.refine_points import (
    EACH,
    HEIGHT,
    ROWS,
    WIDTH,
    Points,
    margins,
    packed,
    replaced,
    seen_at,
    told_at,
    unpacked,
)


class CoarseStage(GraphStage):
    """The frame at half size to an answer for all of it, what each tile is told, and how doubtful it is."""

    name = "coarse"
    ports = StagePorts(("image",), ("cells", "told", "doubt", "places", "score", "answer"))

    def __init__(self, net: Coarse, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature
        self.register_buffer("boxes", Grid().boxes())

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """uint8 [rows, 180, 240, 3] to cells [rows, classes, 90, 120], told [rows, 90, context, 7, 8], doubt
        [rows, 90], places [rows, 90, 4], score [rows, 1] and the answer [rows, 2, 360, 480].
        """
        cells, context = self.net(image.permute(0, 3, 1, 2).float())
        grid = self.net.grid
        unsure = 1 - (cells / self.temperature).softmax(dim=1).amax(dim=1)
        doubt = grid.means(unsure)
        places = self.get_buffer("boxes") + 0 * doubt[:, :, None]
        answer = answered(cells, 4, self.temperature)
        return cells, grid.windows(context), doubt, places, answer[:, 1].mean(dim=(1, 2))[:, None], answer


class TileStage(GraphStage):
    """A tile of the frame itself, and what it is told, to what its logits change by; one row a tile."""

    name = "tile"
    ports = StagePorts(("pixels", "told"), ("change",))

    def __init__(self, net: Tile) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor, told: Tensor) -> tuple[Tensor, ...]:
        """uint8 [rows, 40, 48, 3] and [rows, context, 7, 8] to [rows, classes, 20, 24]."""
        return (self.net(pixels.permute(0, 3, 1, 2).float(), told),)


class PasteStage(GraphStage):
    """The tiles put in place (tiles that weren't refined change nothing), and the points that are still doubtful."""

    name = "paste"
    ports = StagePorts(
        ("cells", "change", "frame"),
        ("score", "answer", "drawn", "spots", "around", "seen", "doubt_points", "places_points"),
    )

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.grid, self.temperature = Grid(), temperature

    def forward(self, cells: Tensor, change: Tensor, frame: Tensor) -> tuple[Tensor, ...]:
        """Cells, changes [rows, 90, classes, 20, 24] and uint8 [rows, 360, 480, 3] to score [rows, 1] and the answer
        [rows, 2, 360, 480]; then of ROWS times EACH points, the most doubtful first: where they are [rows, ROWS, EACH],
        what is known around them, each row's doubt, and their middles as shares of the frame [rows, ROWS, 2 EACH].
        """
        logits = refined(cells, self.grid.joined(change))
        answer = answered(logits, 2, self.temperature)
        doubt, spots = (1 - margins(logits / self.temperature)).topk(ROWS * EACH, dim=1)
        middles = torch.stack([(spots // WIDTH + 0.5) / HEIGHT, (spots % WIDTH + 0.5) / WIDTH], dim=2)
        return (
            answer[:, 1].mean(dim=(1, 2))[:, None],
            answer,
            answer + 0.0,
            spots.float().unflatten(1, (ROWS, EACH)),
            told_at(logits, spots).unflatten(1, (ROWS, EACH)),
            packed(seen_at(frame, spots)).unflatten(1, (ROWS, EACH)),
            doubt.unflatten(1, (ROWS, EACH)).mean(dim=2),
            middles.flatten(1).unflatten(1, (ROWS, 2 * EACH)),
        )


class PointStage(GraphStage):
    """A row of EACH points to each one's four classes and their probabilities."""

    name = "point"
    ports = StagePorts(("around", "seen"), ("dots",))

    def __init__(self, net: Points, temperature: float) -> None:
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, around: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
        """[rows, EACH, 9, classes] and [rows, EACH, 64] to [rows, EACH, 8]."""
        logits = self.net(around.flatten(0, 1), unpacked(seen.flatten(0, 1))) / self.temperature
        best, place = logits.softmax(dim=2).max(dim=2)
        return (torch.cat([place.to(best.dtype), best], dim=1).unflatten(0, (-1, EACH)),)


class PlaceStage(GraphStage):
    """The points put in place: points that weren't refined stay as they were drawn."""

    name = "place"
    ports = StagePorts(("drawn", "spots", "dots"), ("score", "answer"))

    def forward(self, drawn: Tensor, spots: Tensor, dots: Tensor) -> tuple[Tensor, ...]:
        """[rows, 2, 360, 480], [rows, ROWS, EACH] and [rows, ROWS, EACH, 8] to score and answer."""
        classes, probability = dots.flatten(1, 2).split(4, dim=2)
        answer = replaced(drawn, spots.flatten(1).long(), classes, probability)
        return answer[:, 1].mean(dim=(1, 2))[:, None], answer


def whole(coarse: Coarse, tile: Tile, image: Tensor, frame: Tensor) -> Tensor:
    """Logits at half size [b, classes, 180, 240] with every tile refined.

    Args:
        coarse, tile: the nets.
        image: float32 [b, 3, 180, 240], 0..255.
        frame: float32 [b, 3, 360, 480], 0..255.
    """
    cells, context = coarse(image)
    told = coarse.grid.windows(context)
    pixels = cut(frame)
    change = tile(pixels.flatten(0, 1), told.flatten(0, 1))
    return refined(cells, coarse.grid.joined(change.unflatten(0, told.shape[:2])))


def cut(frame: Tensor) -> Tensor:
    """Frames [b, c, 360, 480] to their tiles [b, 90, c, 40, 48]."""
    grid = Grid()
    rows, channels, height, width = frame.shape
    cells = frame.reshape(rows, channels, grid.rows, height // grid.rows, grid.columns, width // grid.columns)
    return torch.flatten(cells.permute(0, 2, 4, 1, 3, 5), 1, 2)
