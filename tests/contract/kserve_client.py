"""What test_kserve.py runs under KServe's own Python: its clients, unmodified, and what they were told, as JSON.

python kserve_client.py HTTP_URL GRPC_ADDRESS MODEL FILE
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferOutput, InferRequest, InferResponse
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def request(model: str, file: bytes, *, binary: bool, **parameters: Any) -> InferRequest:
    """One encoded picture, its answer wanted as raw bytes or as JSON."""
    image = InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([file], dtype=np.object_), binary_data=True)
    wanted = [RequestedOutput(name, {"binary_data": binary}) for name in ("label", "probability")]
    return InferRequest(model, [image], request_id="mine", parameters=parameters, request_outputs=wanted)


def shown(answered: InferResponse) -> dict[str, Any]:
    """The parts of a reply that the test looks at."""
    outputs: dict[str, InferOutput] = {one.name: one for one in answered.outputs}
    label = outputs["label"].as_numpy().tolist()[0]
    return {
        "model": answered.model_name,
        "id": answered.id,
        "label": label.decode() if isinstance(label, bytes) else label,
        "probability": outputs["probability"].as_numpy().tolist(),
        "parameters": {name: _plain(value) for name, value in (answered.parameters or {}).items()},
    }


def _plain(value: Any) -> Any:
    """A parameter's value; None where KServe's messages have no field for it: its gRPC knows no fractions."""
    if not hasattr(value, "WhichOneof"):
        return value
    kind = value.WhichOneof("parameter_choice")
    return getattr(value, kind) if kind else None


async def rest(url: str, model: str, file: bytes) -> dict[str, Any]:
    """Everything that the REST client can do of v2."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    try:
        told: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, model),
            "binary": shown(await client.infer(url, request(model, file, binary=True), model)),
            "json": shown(await client.infer(url, request(model, file, binary=False, agreement=1), model)),
        }
        try:
            await client.infer(url, request(model, b"no picture", binary=True), model)
        except Exception as error:
            told["error"] = str(error)
        try:
            told["other_ready"] = await client.is_model_ready(url, "other")
        except Exception as error:
            told["other_ready"] = f"{type(error).__name__}: {error}"
        return told
    finally:
        await client.close()


async def rpc(address: str, model: str, file: bytes) -> dict[str, Any]:
    """The same over gRPC."""
    client = InferenceGRPCClient(address, timeout=60)
    try:
        told: dict[str, Any] = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready(model),
            "binary": shown(await client.infer(request(model, file, binary=True))),
            "json": shown(await client.infer(request(model, file, binary=True, agreement=1))),
        }
        try:
            await client.infer(request(model, b"no picture", binary=True))
        except Exception as error:
            told["error"] = str(error)
        return told
    finally:
        await client.close()


async def main(url: str, address: str, model: str, file: bytes) -> None:
    """Both, one after the other."""
    print(json.dumps({"rest": await rest(url, model, file), "grpc": await rpc(address, model, file)}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]).read_bytes()))
