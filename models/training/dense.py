"""Training of the dense networks: views of the frames, the loss over pixels, a plain loop with a schedule."""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.data.camvid import HEIGHT, VOID, WIDTH, Frames
from models.training.precision import autocast

Pixels = NDArray[np.uint8]


def views(frames: Frames, count: int, seed: int) -> tuple[Pixels, Pixels]:
    """`count` views of each frame, view by view: the frame itself, then random parts, half of them mirrored.

    uint8 [count * n, 360, 480, 3] and masks [count * n, 360, 480].
    """
    rng = np.random.default_rng(seed)
    images = np.empty((count * len(frames), HEIGHT, WIDTH, 3), np.uint8)
    masks = np.empty((count * len(frames), HEIGHT, WIDTH), np.uint8)
    for place in range(len(images)):
        view, row = divmod(place, len(frames))
        image, mask = frames.images[row], frames.masks[row]
        if view:
            image, mask = _part(image, mask, rng)
            step = int(rng.choice([1, -1]))
            image, mask = image[:, ::step], mask[:, ::step]
        images[place], masks[place] = image, mask
    return images, masks


def _part(image: Pixels, mask: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """A part of 1/1.6 to 1/0.85 of the sides (beyond the frame nothing is known), scaled back, its colours shifted."""
    scale = np.exp(rng.uniform(np.log(0.85), np.log(1.6)))
    width, height = WIDTH / scale, HEIGHT / scale
    left, top = (
        rng.uniform(min(0, WIDTH - width), max(0, WIDTH - width)),
        rng.uniform(min(0, HEIGHT - height), max(0, HEIGHT - height)),
    )
    size, affine = (WIDTH, HEIGHT), (1 / scale, 0, left, 0, 1 / scale, top)
    transform = Image.Transform.AFFINE
    seen = Image.fromarray(image).transform(size, transform, affine, Image.Resampling.BILINEAR, fillcolor=(127,) * 3)
    known = Image.fromarray(mask).transform(size, transform, affine, Image.Resampling.NEAREST, fillcolor=VOID)
    gain, shift = rng.uniform(0.7, 1.3, 3) * 0.3 + rng.uniform(0.7, 1.3) * 0.7, rng.uniform(-20, 20)
    lit = (np.asarray(seen, np.float32) * gain + shift).clip(0, 255)
    return lit.astype(np.uint8), np.asarray(known)


def class_weights(masks: Pixels, classes: int) -> Tensor:
    """The root of the inverse of a class's share of the pixels, to a mean of 1 over classes, at most 4."""
    shares = np.bincount(masks.ravel(), minlength=classes + 1)[:classes] / masks.size
    weights = 1 / np.sqrt(shares)
    return torch.tensor((weights / weights.mean()).clip(max=4), dtype=torch.float32)


def pixel_loss(logits: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy over the known pixels; masks int64 [b, h, w] of the logits' size."""
    return F.cross_entropy(logits.float(), masks, weights, ignore_index=VOID)


def train(
    net: nn.Module,
    groups: list[dict[str, object]],
    batches: Callable[[int], Iterable[Callable[[], Tensor]]],
    *,
    epochs: int,
    steps: int,
    file: Path,
) -> float:
    """AdamW through `epochs` with a short rise and a cosine fall; saves and resumes at `file`. Minutes taken.

    `batches(epoch)` gives closures that compute a batch's loss; `groups` are parameter groups with their rates.
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-3)
    total, done, spent = epochs * steps, 0, 0.0
    for group in optimizer.param_groups:
        group["highest"] = group["lr"]
    if file.exists():
        state = torch.load(file, weights_only=True)
        net.load_state_dict(state["net"])
        done, spent = state["epoch"], state["minutes"]
        if done < epochs:
            optimizer.load_state_dict(state["optimizer"])
    for epoch in range(done, epochs):
        started, losses = time.perf_counter(), []
        net.train()
        for number, loss_of in enumerate(batches(epoch)):
            at = (epoch * steps + number) / total
            factor = min(at / 0.05 + 0.02, 1.0) * 0.5 * (1 + math.cos(math.pi * at))
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * factor
            with autocast():
                loss = loss_of()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        spent += (time.perf_counter() - started) / 60
        print(f"epoch {epoch + 1}/{epochs} loss {np.mean(losses):.4f} minutes {spent:.2f}", flush=True)
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1, "minutes": spent}
        torch.save(state, file)
    return spent
