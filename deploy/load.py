"""A client for `docker compose --profile load up`: made-up inputs with all kinds of budgets, so that the graphs move.

    python3 load.py http://offramp:8000

Each served model gets what it reads: pictures of noise, sentences at random, a few seconds of moving noise. Answers
mean nothing, latencies and compute do. For figures use loadtest/. Runs until it is stopped; four requests at a time, a
pause between them that swells and shrinks over a few minutes. Models that come or go are noticed.
"""

import io
import json
import math
import random
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from PIL import Image

BUDGETS = ("", "", "?latency_ms=50", "?latency_ms=5", "?compute_mmacs=60", "?agreement=0.99", "?agreement=1")
CLIENTS, PERIOD_S, NEWS_S = 4, 300.0, 30.0
WORDS = ("the", "film", "plot", "actor", "is", "was", "not", "very", "rather", "dull", "great", "awful", "and", "but")


def noise(side: int) -> Image.Image:
    """A square picture of blurred noise."""
    return Image.effect_noise((8, 8), random.uniform(20, 120)).convert("RGB").resize((side, side))


def picture() -> bytes:
    """A small JPEG."""
    noise(32).save(sink := io.BytesIO(), "JPEG")
    return sink.getvalue()


def text() -> bytes:
    """Between a line and a page of words."""
    return " ".join(random.choices(WORDS, k=random.randint(8, 300))).encode()


def clip() -> bytes:
    """Two seconds of a picture that changes now and then, as MP4."""
    import av  # takes a while, and only video models need it

    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        shown = noise(96)
        for _ in range(20):
            shown = noise(96) if random.random() < 0.1 else shown
            container.mux(stream.encode(av.VideoFrame.from_image(shown)))
        container.mux(stream.encode())
    return sink.getvalue()


MAKERS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "image": ("image/jpeg", picture),
    "text": ("text/plain", text),
    "video": ("video/mp4", clip),
}
"""By what a model reads: a Content-Type, and how an input is made up."""


def models(base: str) -> list[tuple[str, str]]:
    """Name and modality of the models that are served and can be fed."""
    with urllib.request.urlopen(f"{base}/v1/models", timeout=10) as answered:
        shown = json.load(answered)["models"]
    return [(one["name"], one["modality"]) for one in shown if one["modality"] in MAKERS]


def ask(base: str, name: str, modality: str) -> None:
    """One request; whatever it is answered is fine."""
    media_type, make = MAKERS[modality]
    url = f"{base}/v1/models/{name}/predict{random.choice(BUDGETS)}"
    try:
        urllib.request.urlopen(urllib.request.Request(url, make(), {"Content-Type": media_type}), timeout=30).close()
    except urllib.error.HTTPError as refused:
        refused.close()


def client(base: str) -> None:
    """Ask without end."""
    served: list[tuple[str, str]] = []
    told_at = -math.inf
    while True:
        try:
            if time.monotonic() - told_at > NEWS_S or not served:
                served, told_at = models(base), time.monotonic()
            ask(base, *random.choice(served))
        except (OSError, IndexError):
            time.sleep(1)
        time.sleep(random.expovariate(1) * (0.06 + 0.05 * math.sin(2 * math.pi * time.time() / PERIOD_S)))


def main() -> None:
    """Start the clients."""
    base = sys.argv[1].rstrip("/")
    for _ in range(CLIENTS):
        threading.Thread(target=client, args=(base,), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
