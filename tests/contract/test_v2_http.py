"""The Open Inference Protocol v2 as its own clients speak it: unmodified tritonclient against a real server."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests import packages
from tests.conftest import StartServer
from tests.service.wire import BLUE, CLIENT, FULL_MACS, GREEN, RED, Scrape, noisy

MODEL = "colours"
LABELS = [b"red", b"green", b"blue"]


@pytest.fixture(scope="module")
def url(colours_server: str) -> str:
    return colours_server


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(url.removeprefix("http://"), concurrency=4)
    yield made
    made.close()


def files(*images: bytes, binary: bool = True) -> list[triton.InferInput]:
    """Encoded images as the input tensor."""
    given = triton.InferInput("image", [len(images)], "BYTES")
    given.set_data_from_numpy(np.array(images, dtype=np.object_), binary_data=binary)
    return [given]


def pixels(*pictures: np.ndarray, binary: bool = True) -> list[triton.InferInput]:  # type: ignore[type-arg]
    given = triton.InferInput("image", [len(pictures), *pictures[0].shape], "UINT8")
    given.set_data_from_numpy(np.stack(pictures), binary_data=binary)
    return [given]


def receipt(result: triton.InferResult) -> dict[str, Any]:
    told: dict[str, Any] = result.get_response()["parameters"]
    return told


def test_the_server_lives_and_is_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("nobody")


def test_metadata_and_config(client: triton.InferenceServerClient) -> None:
    assert client.get_server_metadata()["name"] == "offramp"
    about = client.get_model_metadata(MODEL)
    assert about["name"] == MODEL
    assert about["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert [(one["name"], one["datatype"], one["shape"]) for one in about["outputs"]] == [
        ("label", "BYTES", [-1]),
        ("probability", "FP32", [-1, 3]),
    ]
    assert client.get_model_config(MODEL)["max_batch_size"] > 0


def test_the_repository_is_listed(client: triton.InferenceServerClient) -> None:
    (entry,) = client.get_model_repository_index()
    assert (entry["name"], entry["state"]) == (MODEL, "READY")


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_files_get_labels_probabilities_and_a_receipt(client: triton.InferenceServerClient, binary: bool) -> None:
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("probability", "label")]
    # In JSON an element of BYTES is a string: pixels go where files can't.
    inputs = files(RED, BLUE) if binary else pixels(packages.plain("red"), packages.plain("blue"), binary=False)
    result = client.infer(MODEL, inputs, outputs=wanted, request_id="seven")
    said = [one if isinstance(one, bytes) else one.encode() for one in result.as_numpy("label").tolist()]
    assert said == [b"red", b"blue"]
    probability = result.as_numpy("probability")
    assert probability.shape == (2, 3)
    assert probability.dtype == np.float32
    assert np.allclose(probability.sum(axis=1), 1.0, atol=1e-5)
    assert result.get_response()["id"] == "seven"
    told = receipt(result)
    assert told["met"] is True
    assert told["exit"].count(",") == 1
    assert len(json.loads(told["receipts"])) == 2


def test_nothing_named_gives_everything(client: triton.InferenceServerClient) -> None:
    result = client.infer(MODEL, files(GREEN))
    assert result.as_numpy("label").tolist() == [b"green"]
    assert result.as_numpy("probability").shape == (1, 3)
    assert result.get_output("nobody") is None


def test_pixels_are_an_input_too(client: triton.InferenceServerClient) -> None:
    result = client.infer(MODEL, pixels(*(packages.plain(label) for label in packages.LABELS)))
    assert result.as_numpy("label").tolist() == LABELS


def test_best_classes(client: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("probability", class_count=2)]
    (row,) = client.infer(MODEL, files(RED), outputs=wanted).as_numpy("probability")
    assert row[0].decode().endswith(":0:red")
    assert len(row) == 2


def test_a_budget_rides_in_the_parameters(client: triton.InferenceServerClient) -> None:
    full = client.infer(MODEL, files(RED), parameters={"agreement": 1.0})
    assert receipt(full)["mmacs"] == FULL_MACS / 1e6
    assert receipt(full)["certificate"]
    cheap = client.infer(MODEL, files(RED), parameters={"compute_mmacs": 1.5})
    assert receipt(cheap)["mmacs"] == 1.0
    assert receipt(client.infer(MODEL, files(RED)))["fraction_of_full"] < 1


def test_timeout_is_a_deadline_in_microseconds(client: triton.InferenceServerClient, url: str) -> None:
    before = Scrape.of(url).total("offramp_budget_total", budget="latency_ms")
    result = client.infer(MODEL, files(RED), timeout=5_000_000, priority=1)
    assert receipt(result)["met"] is True
    assert Scrape.of(url).total("offramp_budget_total", budget="latency_ms") == before + 1


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_packed_requests_and_replies(client: triton.InferenceServerClient, packing: str) -> None:
    images = noisy(40, seed=3)[0]
    result = client.infer(
        MODEL, files(*images), request_compression_algorithm=packing, response_compression_algorithm=packing
    )
    assert result.as_numpy("probability").shape == (40, 3)


async def test_the_asynchronous_client(url: str) -> None:
    async with triton_aio.InferenceServerClient(url.removeprefix("http://")) as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata(MODEL))["name"] == MODEL
        given = triton_aio.InferInput("image", [1], "BYTES")
        given.set_data_from_numpy(np.array([GREEN], dtype=np.object_))
        result = await client.infer(MODEL, [given])
        assert result.as_numpy("label").tolist() == [b"green"]
        with pytest.raises(InferenceServerException, match="no model 'nobody'"):
            await client.infer("nobody", [given])


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"parameters": {"accuracy": 0.99999}}, "422", "can't be certified"),
        ({"parameters": {"accuracy": "high"}}, "400", "budget.accuracy"),
        ({"parameters": {"hurry": True}}, "400", "'hurry'"),
        ({"priority": 9}, "400", "priority"),
        ({"outputs": [triton.InferRequestedOutput("boxes")]}, "400", "no output 'boxes'"),
        ({"model_version": "7"}, "400", "version 1.0.0, not 7"),
    ],
)
def test_errors_are_told_as_the_client_reads_them(
    client: triton.InferenceServerClient, asked: dict[str, Any], status: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        client.infer(MODEL, files(RED), **asked)
    assert caught.value.status() == status


def test_what_is_no_image_is_refused_and_the_others_go_on(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException):
        client.infer(MODEL, files(b"no image"))
    assert client.infer(MODEL, files(RED)).as_numpy("label").tolist() == [b"red"]


def test_an_unknown_model_is_404(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no model 'nobody'") as caught:
        client.infer("nobody", files(RED))
    assert caught.value.status() == "404"


def test_statistics_are_whole_numbers_that_grow(client: triton.InferenceServerClient) -> None:
    def of_model() -> dict[str, Any]:
        (found,) = client.get_inference_statistics(MODEL)["model_stats"]
        return dict(found)

    before = of_model()
    client.infer(MODEL, files(RED, GREEN, BLUE))
    after = of_model()
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["execution_count"] > before["execution_count"]
    assert after["last_inference"] > 1_600_000_000_000
    for name in ("success", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"):
        pair, earlier = after["inference_stats"][name], before["inference_stats"][name]
        assert {type(pair["count"]), type(pair["ns"])} == {int}
        assert pair["count"] - earlier["count"] == (0 if name.startswith("cache") else 3)
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]


def test_unload_takes_no_new_work_and_load_brings_it_back(start_server: StartServer, colours: Any) -> None:
    with start_server("--models", str(colours)) as url:
        client = triton.InferenceServerClient(url.removeprefix("http://"))
        client.unload_model(MODEL)
        assert not client.is_model_ready(MODEL)
        (entry,) = client.get_model_repository_index()
        assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "unloaded")
        with pytest.raises(InferenceServerException, match="unloaded"):
            client.infer(MODEL, files(RED))
        client.load_model(MODEL)
        assert client.infer(MODEL, files(RED)).as_numpy("label").tolist() == [b"red"]
        client.close()


def test_the_log_s_level_is_shown_and_changed(client: triton.InferenceServerClient) -> None:
    assert client.get_log_settings()["log_info"] is True
    assert client.update_log_settings({"log_info": False})["log_info"] is False
    told = client.update_log_settings({"log_info": True, "log_verbose_level": 0})
    assert (told["log_info"], told["log_error"], told["log_verbose_level"]) == (True, True, 0)
    for wrong in ({"log_file": "else.txt"}, {"log_error": False}, {"log_info": 1}, {"colour": True}):
        with pytest.raises(InferenceServerException):
            client.update_log_settings(wrong)
    assert client.get_log_settings() == told


def test_nothing_is_traced(client: triton.InferenceServerClient) -> None:
    for model in (None, MODEL):
        assert client.get_trace_settings(model)["trace_level"] == ["OFF"]
        assert client.update_trace_settings(model, {"trace_level": None})["trace_level"] == ["OFF"]
        with pytest.raises(InferenceServerException, match="explain"):
            client.update_trace_settings(model, {"trace_level": ["TIMESTAMPS"]})
    with pytest.raises(InferenceServerException, match="no model"):
        client.get_trace_settings("other")


def test_many_at_once_and_metrics_agree_to_the_last_mac(client: triton.InferenceServerClient, url: str) -> None:
    images, labels = noisy(60, seed=8)
    before = Scrape.of(url).total("offramp_compute_macs_total", model=MODEL)
    # The client is no friend of threads (gevent): it has its own way to have four requests on their way.
    pending = [client.async_infer(MODEL, files(image)) for image in images]
    results = [one.get_result() for one in pending]
    right = [
        result.as_numpy("label").tolist()[0].decode() == label for result, label in zip(results, labels, strict=True)
    ]
    assert np.mean(right) > 0.7
    spent = sum(round(receipt(result)["mmacs"] * 1e6) for result in results)
    assert Scrape.of(url).total("offramp_compute_macs_total", model=MODEL) == before + spent


def post(url: str, content: bytes, **headers: str) -> httpx.Response:
    return CLIENT.post(f"{url}/v2/models/{MODEL}/infer", content=content, headers=headers)


def infer_json(**changes: Any) -> bytes:
    entry = {
        "name": "image",
        "shape": [1, 8, 8, 3],
        "datatype": "UINT8",
        "data": packages.plain("red").ravel().tolist(),
    }
    return json.dumps({"inputs": [entry | changes]}).encode()


def test_plain_json_without_any_header_is_enough(url: str) -> None:
    answered = post(url, infer_json()).json()
    label, probability = answered["outputs"]
    assert (label["data"], label["shape"]) == (["red"], [1])
    assert len(probability["data"]) == 3
    assert "id" not in answered


@pytest.mark.parametrize(
    ("content", "headers", "message"),
    [
        (b"{", {}, "can't be read"),
        (b"[]", {}, "must be a JSON object"),
        (b"{}", {}, "has one input"),
        (infer_json(shape=[1, 8, 8, 4]), {}, "values; shape"),
        (infer_json(shape=[-1]), {}, "none below 0"),
        (infer_json(shape=[1, 192]), {}, "takes BYTES"),
        (infer_json(datatype="FP31"), {}, "is none of"),
        (infer_json(data=[300] * 192), {}, "can't hold"),
        (infer_json(data=[0.5] * 192), {}, "are no UINT8"),
        (infer_json(data=[[1], 2]), {}, "unevenly"),
        (infer_json(name="text"), {}, "has one input, 'image'"),
        (infer_json(parameters={"binary_data_size": 9}), {}, "doesn't fit the 0 bytes"),
        (infer_json(), {"Inference-Header-Content-Length": "999999"}, "the body has"),
        (infer_json(), {"Inference-Header-Content-Length": "-1"}, "whole number"),
        (infer_json() + b"xx", {"Inference-Header-Content-Length": str(len(infer_json()))}, "2 bytes stand behind"),
        (infer_json(), {"Content-Encoding": "br"}, "isn't known"),
        (infer_json(), {"Content-Encoding": "gzip"}, "is no gzip"),
    ],
)
def test_what_the_protocol_does_not_allow_is_refused_with_a_reason(
    url: str, content: bytes, headers: dict[str, str], message: str
) -> None:
    refused = post(url, content, **headers)
    assert refused.status_code == 400, refused.text
    assert message in refused.json()["error"]
    assert refused.headers["content-type"] == "application/json"


def test_a_packed_bomb_is_refused_before_it_is_unpacked(url: str) -> None:
    bomb = zlib.compress(b" " * (64 << 20), 9)
    assert post(url, bomb, **{"Content-Encoding": "deflate"}).status_code == 413


def test_nested_data_is_read_without_recursion(url: str) -> None:
    deep = b'{"inputs":[{"name":"image","datatype":"UINT8","shape":[1],"data":' + b"[" * 900 + b"]" * 900 + b"}]}"
    assert post(url, deep).status_code == 400


def test_paths_of_the_protocol_that_are_not_there_say_so_in_its_form(url: str) -> None:
    missing = CLIENT.get(f"{url}/v2/systemsharedmemory/status")
    assert missing.status_code == 404
    assert "error" in missing.json()
