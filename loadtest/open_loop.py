"""`python -m loadtest.open_loop`: a real server under open-loop load, on the machine that this runs on.

Requests arrive by a Poisson process whatever the server does, and latency counts from the *scheduled* arrival, so a
stalled server can't hide behind a sender that waits for it. Needs OFFRAMP_DATA for images with labels. The server gets
one core and the sender another.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import uvloop
from numpy.typing import NDArray

from loadtest.arrivals import arrivals
from loadtest.images import Images, cifar10
from loadtest.wire import Client, Reply, post

MODEL = "cifar10-early-exit"
LOADS = (0.2, 0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
DEADLINE_MS = 50.0
CONNECTIONS = 8
"""Of the closed loop that measures the capacity: enough to fill batches, too few for anybody to be refused."""
MOST_LAG_S = 0.02
"""A sender that is later than this for 1 % of the requests measured itself, not the server."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One load. Shares are of all requests sent; times in ms; goodput in answers per second, right and in time."""

    load: float
    rate: float
    sent: int
    in_time: float
    late: float
    refused: float
    failed: float
    right: float
    useful_goodput: float
    mean_fraction_of_full: float
    latency_p50: float
    latency_p99: float
    refusal_p99: float
    lag_p99: float


@contextmanager
def server(port: int, core: int, *arguments: str) -> Iterator[str]:
    """A server of its own process on one core; yields its base URL once it is ready."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", "service", "serve", "--port", str(port), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/readyz")
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} never became ready")


async def capacity(url: str, requests: Sequence[bytes], seconds: float) -> float:
    """Answers per second in a closed loop of a few connections, each sending its next request at once."""
    client, answered, end = Client(url), 0, time.monotonic() + seconds

    async def one(start: int) -> None:
        nonlocal answered
        for place in range(start, 10**9, CONNECTIONS):
            reply = await client.send(requests[place % len(requests)])
            if reply.finished_at > end:
                return
            answered += reply.status == 200

    await asyncio.gather(*(one(start) for start in range(CONNECTIONS)))
    client.close()
    return answered / seconds


async def offer(url: str, requests: Sequence[bytes], times: Sequence[float]) -> list[tuple[float, Reply]]:
    """Send request i at times[i] seconds from now; pairs of scheduled moment and reply, in order."""
    client, start = Client(url), time.monotonic() + 0.2

    async def one(place: int, at: float) -> tuple[float, Reply]:
        return at, await client.send(requests[place % len(requests)])

    sending = []
    for place, moment in enumerate(times):
        await asyncio.sleep(max(0.0, start + moment - time.monotonic()))
        sending.append(asyncio.ensure_future(one(place, start + moment)))
    done = await asyncio.gather(*sending)
    client.close()
    return list(done)


def figures(load: float, rate: float, replies: Sequence[tuple[float, Reply]], images: Images) -> Figures:
    """What one run came to."""
    latency = np.array([reply.finished_at - at for at, reply in replies]) * 1e3
    status = np.array([reply.status for _, reply in replies])
    lag = np.array([reply.sent_at - at for at, reply in replies])
    answers = [json.loads(reply.body) if reply.status == 200 else None for _, reply in replies]
    right = np.array([_right(answer, images, place) for place, answer in enumerate(answers)])
    answered, in_time = status == 200, (status == 200) & (latency <= DEADLINE_MS)
    seconds = replies[-1][0] - replies[0][0]
    spent = [answer["compute"]["fraction_of_full"] for answer in answers if answer]
    return Figures(
        load=load,
        rate=round(rate, 1),
        sent=len(replies),
        in_time=_share(in_time),
        late=_share(answered & ~in_time),
        refused=_share(status == 503),
        failed=_share(~np.isin(status, (200, 503))),
        right=_share(right[answered]),
        useful_goodput=round(float((in_time & right).sum()) / seconds, 1),
        mean_fraction_of_full=round(float(np.mean(spent or [0.0])), 4),
        latency_p50=_percentile(latency[answered], 50),
        latency_p99=_percentile(latency[answered], 99),
        refusal_p99=_percentile(latency[status == 503], 99),
        lag_p99=_percentile(lag * 1e3, 99),
    )


def _right(answer: dict[str, dict[str, str]] | None, images: Images, place: int) -> bool:
    return answer is not None and answer["output"]["label"] == images.labels[place % len(images.labels)]


def _share(mask: NDArray[np.bool_]) -> float:
    return round(float(mask.mean()), 5) if len(mask) else 0.0


def _percentile(values: NDArray[np.float64], q: float) -> float:
    return round(float(np.percentile(values, q)), 2) if len(values) else 0.0


async def sweep(url: str, images: Images, loads: Sequence[float], seconds: float, seed: int) -> list[Figures]:
    """Measure the capacity, then every load relative to it."""
    predict = f"{url}/v1/models/{MODEL}/predict?latency_ms={DEADLINE_MS:g}"
    requests = [post(predict, file, "image/jpeg") for file in images.files]
    await capacity(url, requests, 2.0)
    full = await capacity(url, requests, seconds)
    found = []
    for load in loads:
        rate = load * full
        times = arrivals("poisson", rate=rate, seconds=seconds, seed=seed).tolist()
        measured = figures(load, rate, await offer(url, requests, times), images)
        print(_line(measured), file=sys.stderr)
        found.append(measured)
    return found


def _line(one: Figures) -> str:
    valid = "" if one.lag_p99 <= MOST_LAG_S * 1e3 else "  (sender too slow: not valid)"
    return (
        f"load {one.load:4.1f} = {one.rate:7.1f}/s: in time {one.in_time:.4f}, late {one.late:.4f}, "
        f"refused {one.refused:.4f} (p99 {one.refusal_p99:.1f} ms), failed {one.failed:.4f}, right {one.right:.4f}, "
        f"useful {one.useful_goodput:7.1f}/s, p50 {one.latency_p50:.1f} ms, p99 {one.latency_p99:.1f} ms, "
        f"of full {one.mean_fraction_of_full:.3f}, lag p99 {one.lag_p99:.1f} ms{valid}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Start a server, sweep the loads, print JSON."""
    parser = argparse.ArgumentParser(prog="loadtest.open_loop", description=__doc__)
    parser.add_argument("--loads", type=float, nargs="+", default=list(LOADS), help="times the measured capacity")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    os.sched_setaffinity(0, {1})
    with server(given.port, 0, "--lanes", "1") as url:
        images = cifar10()
        gc.freeze()  # a full collection would stop the sender for longer than the deadline
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(sweep(url, images, given.loads, given.seconds, given.seed))
    print(json.dumps([asdict(one) for one in found], indent=1))


if __name__ == "__main__":
    main()
