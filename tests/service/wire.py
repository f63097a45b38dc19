"""What service tests send and read: pictures as files, requests as bytes on a socket, metrics as numbers."""

from __future__ import annotations

import atexit
import base64
import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests import packages

TIMEOUT_S = 120.0
PREDICT = "/v1/models/colours/predict"
PROBLEM = "application/problem+json"
FULL_MACS = sum(packages.MACS)

# One for all: a client costs more than a request. It forgets a connection before the server would close it.
CLIENT = httpx.Client(timeout=TIMEOUT_S, trust_env=False, limits=httpx.Limits(keepalive_expiry=1.0))
atexit.register(CLIENT.close)


def encode(picture: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file."""
    Image.fromarray(picture).save(sink := io.BytesIO(), kind, **options)
    return sink.getvalue()


RED, GREEN, BLUE = (encode(packages.plain(label)) for label in packages.LABELS)


def noisy(count: int, seed: int) -> tuple[list[bytes], list[str]]:
    """Pictures as PNG, hard and easy ones, and the labels that they should get."""
    images, labels = packages.pictures(count, seed)
    return [encode(image) for image in images], [packages.LABELS[label] for label in labels]


def post(url: str, content: bytes = RED, *, path: str = PREDICT, **options: Any) -> httpx.Response:
    """Post a body as it is."""
    return CLIENT.post(f"{url}{path}", content=content, **options)


def post_json(url: str, document: Any, **options: Any) -> httpx.Response:
    """Post a JSON document."""
    return CLIENT.post(f"{url}{PREDICT}", json=document, **options)


def inputs(*files: bytes) -> list[dict[str, str]]:
    """Files as the inputs of a JSON document."""
    return [{"image_base64": base64.b64encode(file).decode()} for file in files]


def answer(response: httpx.Response) -> dict[str, Any]:
    """The answer; anything else fails with what the server said."""
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document, which has to be complete and of that status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    assert response.headers["x-request-id"]
    found: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance"} <= set(found)
    assert found["type"].startswith("urn:offramp:error:")
    assert found["status"] == status
    assert found["instance"] == response.url.path
    assert (status in (429, 503)) == ("retry-after" in response.headers)
    return found


def macs(shown: dict[str, Any]) -> int:
    """What an answer says that it cost."""
    return round(shown["compute"]["mmacs"] * 1e6)


@dataclass(frozen=True)
class Scrape:
    """One reading of `/metrics`."""

    samples: dict[str, list[tuple[dict[str, str], float]]]

    @classmethod
    def of(cls, url: str) -> Scrape:
        """Read now."""
        samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(CLIENT.get(f"{url}/metrics").text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        return cls(samples)

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over all children that have these labels."""
        return sum(value for have, value in self.samples[name] if labels.items() <= have.items())

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Values above 0 by these labels."""
        return {tuple(have[label] for label in labels): value for have, value in self.samples[name] if value}


@contextmanager
def connection(url: str) -> Iterator[socket.socket]:
    """A TCP connection to the server."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=TIMEOUT_S) as made:
        yield made


def request_bytes(body: bytes, *headers: str, path: str = PREDICT, length: int | None = None) -> bytes:
    """A POST as it goes over the wire; `length` is what Content-Length claims, if not the truth."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


@dataclass(frozen=True)
class RawResponse:
    """A response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


def read_response(source: io.BufferedIOBase) -> RawResponse:
    """The next response of a connection, read to its Content-Length."""
    status = int(source.readline().split()[1])
    headers = {}
    while (line := source.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return RawResponse(status, headers, source.read(int(headers.get("content-length", "0"))))
