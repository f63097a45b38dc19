"""A client for `docker compose --profile load up`: made-up pictures with all kinds of budgets, so that the graphs move.

    python3 load.py http://offramp:8000

Its pictures are noise: answers mean nothing, latencies and compute do. For figures use loadtest/. Runs until it
is stopped; four requests at a time, a pause between them that swells and shrinks over a few minutes.
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

from PIL import Image

BUDGETS = ("", "", "?latency_ms=50", "?latency_ms=5", "?compute_mmacs=60", "?agreement=0.99", "?agreement=1")
CLIENTS, PERIOD_S = 4, 300.0


def picture() -> bytes:
    """A small JPEG of blurred noise."""
    noise = Image.effect_noise((8, 8), random.uniform(20, 120)).convert("RGB").resize((32, 32))
    noise.save(sink := io.BytesIO(), "JPEG")
    return sink.getvalue()


def models(base: str) -> list[str]:
    """The image models that are served."""
    with urllib.request.urlopen(f"{base}/v1/models", timeout=10) as answered:
        shown = json.load(answered)["models"]
    return [one["name"] for one in shown if one["modality"] == "image" and one["state"] != "failed"]


def client(base: str, names: list[str]) -> None:
    """Ask without end."""
    while True:
        url = f"{base}/v1/models/{random.choice(names)}/predict{random.choice(BUDGETS)}"
        request = urllib.request.Request(url, picture(), {"Content-Type": "image/jpeg"})
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.HTTPError as refused:
            refused.close()
        except OSError:
            time.sleep(1)
        time.sleep(random.expovariate(1) * (0.06 + 0.05 * math.sin(2 * math.pi * time.time() / PERIOD_S)))


def main() -> None:
    """Start the clients."""
    base = sys.argv[1].rstrip("/")
    names = models(base)
    for _ in range(CLIENTS):
        threading.Thread(target=client, args=(base, names), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
