"""The Open Inference Protocol v2 over gRPC: unmodified tritonclient, health and reflection, against a real server."""

from __future__ import annotations

import hashlib
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.utils import InferenceServerException

from tests import packages
from tests.conftest import StartServer, find_free_port
from tests.service.wire import BLUE, FULL_MACS, GREEN, RED, Scrape, noisy

MODEL = "colours"
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def served(start_server: StartServer, colours: Path) -> Iterator[tuple[str, str]]:
    """The HTTP base URL and the gRPC address of one server."""
    port = find_free_port()
    with start_server("--models", str(colours), OFFRAMP_GRPC_PORT=str(port)) as url:
        yield url, f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(served: tuple[str, str]) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(served[1])
    yield made
    made.close()


@pytest.fixture(scope="module")
def channel(served: tuple[str, str]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served[1]) as made:
        yield made


def files(*images: bytes) -> list[triton.InferInput]:
    given = triton.InferInput("image", [len(images)], "BYTES")
    given.set_data_from_numpy(np.array(images, dtype=np.object_))
    return [given]


def receipt(result: triton.InferResult) -> dict[str, Any]:
    told = result.get_response().parameters
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in told.items()}


def test_the_server_lives_and_is_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert not client.is_model_ready("nobody")


def test_metadata_config_index_and_statistics(client: triton.InferenceServerClient) -> None:
    assert client.get_server_metadata().name == "offramp"
    about = client.get_model_metadata(MODEL)
    assert [(one.name, one.datatype, list(one.shape)) for one in about.inputs] == [("image", "BYTES", [-1])]
    assert [one.name for one in about.outputs] == ["label", "probability"]
    config = client.get_model_config(MODEL).config
    assert (config.name, config.input[0].data_type, list(config.output[1].dims)) == (MODEL, 13, [3])
    assert [(one.name, one.state) for one in client.get_model_repository_index().models] == [(MODEL, "READY")]
    client.infer(MODEL, files(RED))
    (statistics,) = client.get_inference_statistics(MODEL).model_stats
    assert statistics.inference_count >= 1
    assert statistics.inference_stats.compute_infer.ns > 0


def test_files_get_labels_probabilities_and_a_receipt(client: triton.InferenceServerClient) -> None:
    result = client.infer(MODEL, files(RED, GREEN, BLUE), request_id="eight", parameters={"agreement": 1.0})
    assert result.as_numpy("label").tolist() == [b"red", b"green", b"blue"]
    assert np.allclose(result.as_numpy("probability").sum(axis=1), 1.0, atol=1e-5)
    assert result.get_response().id == "eight"
    told = receipt(result)
    assert told["mmacs"] == 3 * FULL_MACS / 1e6
    assert told["met"] is True


def test_pixels_as_raw_and_as_typed_contents(client: triton.InferenceServerClient, channel: grpc.Channel) -> None:
    given = triton.InferInput("image", [1, 8, 8, 3], "UINT8")
    given.set_data_from_numpy(packages.plain("blue")[None])
    assert client.infer(MODEL, [given]).as_numpy("label").tolist() == [b"blue"]
    infer = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
    request = triton.service_pb2.ModelInferRequest(model_name=MODEL)
    tensor = request.inputs.add(name="image", datatype="UINT8", shape=[1, 8, 8, 3])
    tensor.contents.uint_contents.extend(packages.plain("green").ravel().tolist())
    answered = infer(request)
    assert answered.raw_output_contents[0][4:] == b"green"
    request.raw_input_contents.append(b"x")
    with pytest.raises(grpc.RpcError) as caught:
        infer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_budgets_and_best_classes(client: triton.InferenceServerClient) -> None:
    cheap = client.infer(MODEL, files(RED), parameters={"compute_mmacs": 1.5}, priority=1)
    assert receipt(cheap)["mmacs"] == 1.0
    wanted = [triton.InferRequestedOutput("probability", class_count=1)]
    assert client.infer(MODEL, files(RED), outputs=wanted).as_numpy("probability")[0][0].endswith(b":0:red")


def test_a_calls_deadline_is_a_budget(client: triton.InferenceServerClient, served: tuple[str, str]) -> None:
    before = Scrape.of(served[0]).total("offramp_budget_total", budget="latency_ms")
    assert receipt(client.infer(MODEL, files(RED), client_timeout=30))["met"] is True
    assert receipt(client.infer(MODEL, files(RED), timeout=30_000_000))["met"] is True
    assert Scrape.of(served[0]).total("offramp_budget_total", budget="latency_ms") == before + 2


@pytest.mark.parametrize(
    ("model", "asked", "code", "message"),
    [
        ("nobody", {}, "NOT_FOUND", "no model 'nobody'"),
        (MODEL, {"parameters": {"hurry": True}}, "INVALID_ARGUMENT", "hurry"),
        (MODEL, {"parameters": {"accuracy": 0.99999}}, "FAILED_PRECONDITION", "can't be certified"),
        (MODEL, {"outputs": [triton.InferRequestedOutput("boxes")]}, "INVALID_ARGUMENT", "no output"),
    ],
)
def test_errors_have_their_status(
    client: triton.InferenceServerClient, model: str, asked: dict[str, Any], code: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        client.infer(model, files(RED), **asked)
    assert caught.value.status() == f"StatusCode.{code}"


def test_a_stream_gives_one_reply_an_exit(served: tuple[str, str]) -> None:
    replies: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with triton.InferenceServerClient(served[1]) as client:
        client.start_stream(callback=lambda result, error: replies.put((result, error)))
        client.async_stream_infer(MODEL, files(RED), request_id="a", parameters={"agreement": 1.0})
        told = [replies.get(timeout=60) for _ in range(len(packages.EXITS) + 1)]
        client.async_stream_infer("nobody", files(RED), request_id="b")
        _, error = replies.get(timeout=60)
        client.async_stream_infer(MODEL, files(BLUE), request_id="c", parameters={"compute_mmacs": 1.0})
        after = [replies.get(timeout=60) for _ in range(2)]
        client.stop_stream()
    assert [receipt(result)["exit"] for result, _ in told] == [*packages.EXITS, packages.EXITS[-1]]
    assert [receipt(result)["triton_final_response"] for result, _ in told] == [False] * 3 + [True]
    assert {result.get_response().id for result, _ in told} == {"a"}
    assert "no model" in str(error)
    assert after[-1][0].as_numpy("label").tolist() == [b"blue"], "the stream goes on after an error"


def test_many_at_once_agree_with_the_metrics(client: triton.InferenceServerClient, served: tuple[str, str]) -> None:
    before = Scrape.of(served[0]).total("offramp_compute_macs_total", model=MODEL)
    done: queue.Queue[Any] = queue.Queue()
    images, labels = noisy(60, seed=5)
    for place, image in enumerate(images):
        client.async_infer(
            MODEL,
            files(image),
            callback=lambda result, error: done.put(result if error is None else error),
            request_id=str(place),
        )
    results = [done.get(timeout=60) for _ in images]
    assert not [one for one in results if isinstance(one, Exception)]
    told = {int(one.get_response().id): one.as_numpy("label")[0].decode() for one in results}
    assert np.mean([told[place] == label for place, label in enumerate(labels)]) > 0.7
    spent = sum(round(receipt(one)["mmacs"] * 1e6) for one in results)
    assert Scrape.of(served[0]).total("offramp_compute_macs_total", model=MODEL) == before + spent


def test_unload_and_load(client: triton.InferenceServerClient) -> None:
    client.unload_model(MODEL)
    try:
        assert not client.is_model_ready(MODEL)
        with pytest.raises(InferenceServerException, match="unloaded") as caught:
            client.infer(MODEL, files(RED))
        assert caught.value.status() == "StatusCode.UNAVAILABLE"
    finally:
        client.load_model(MODEL)
    assert client.is_model_ready(MODEL)


def test_the_log_s_level_is_shown_and_changed(client: triton.InferenceServerClient) -> None:
    assert client.get_log_settings(as_json=True)["settings"]["log_info"]["bool_param"] is True
    told = client.update_log_settings({"log_verbose_level": 1}).settings
    assert told["log_verbose_level"].uint32_param == 1
    told = client.update_log_settings({"log_verbose_level": 0, "log_info": True}).settings
    assert (told["log_info"].bool_param, told["log_verbose_level"].uint32_param) == (True, 0)
    with pytest.raises(InferenceServerException) as caught:
        client.update_log_settings({"log_file": "else.txt"})
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_nothing_is_traced(client: triton.InferenceServerClient) -> None:
    for model in ("", MODEL):
        assert client.get_trace_settings(model).settings["trace_level"].value == ["OFF"]
        assert client.update_trace_settings(model, {"trace_level": ["OFF"], "trace_rate": None})
        with pytest.raises(InferenceServerException, match="explain"):
            client.update_trace_settings(model, {"trace_level": ["TIMESTAMPS"]})
    with pytest.raises(InferenceServerException, match="no model"):
        client.get_trace_settings("other")


def test_a_request_id_is_taken_and_given_back(channel: grpc.Channel) -> None:
    call = channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=triton.service_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=triton.service_pb2.ModelInferResponse.FromString,
    )
    asked = triton.service_pb2.ModelInferRequest(model_name=MODEL)
    asked.inputs.add(name="image", datatype="BYTES", shape=[1]).contents.bytes_contents.append(RED)
    _, told = call.with_call(asked, metadata=(("x-request-id", "mine-7"),))
    assert ("x-request-id", "mine-7") in [(one.key, one.value) for one in told.trailing_metadata()]
    _, told = call.with_call(asked)
    assert {one.key: one.value for one in told.trailing_metadata()}["x-request-id"]


def test_keys_and_quotas_hold_here_too(start_server: StartServer, colours: Path, tmp_path: Path) -> None:
    digests = {name: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" for name in ("small", "stranger")}
    small = {"name": "small", "keys": [digests["small"]], "mmacs_per_s": 1e-3, "burst_mmacs": 1}
    stranger = {"name": "stranger", "keys": [digests["stranger"]], "models": ["another"]}
    (file := tmp_path / "tenants.yaml").write_text(yaml.safe_dump({"tenants": [small, stranger]}))
    port = find_free_port()
    with start_server("--models", str(colours), OFFRAMP_GRPC_PORT=str(port), OFFRAMP_TENANTS=str(file)):
        client = triton.InferenceServerClient(f"127.0.0.1:{port}")

        def status(headers: dict[str, str], **parameters: Any) -> str:
            with pytest.raises(InferenceServerException) as caught:
                client.infer(MODEL, files(RED), headers=headers, parameters=parameters)
            return str(caught.value.status())

        assert status({}) == "StatusCode.UNAUTHENTICATED"
        assert status({"authorization": "Bearer stranger"}) == "StatusCode.PERMISSION_DENIED"
        assert client.infer(MODEL, files(RED), headers={"x-api-key": "small"}, parameters={"agreement": 1})
        assert status({"x-api-key": "small"}) == "StatusCode.RESOURCE_EXHAUSTED"
        with pytest.raises(InferenceServerException, match="administrator"):
            client.unload_model(MODEL, headers={"x-api-key": "small"})
        client.close()


def test_health_and_reflection(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE):
        answered = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answered.status == health_pb2.HealthCheckResponse.SERVING
    described = ProtoReflectionDescriptorDatabase(channel)
    assert SERVICE in described.get_services()
    file = described.FindFileContainingSymbol(SERVICE)
    assert "ModelStreamInfer" in [method.name for method in file.service[0].method]


def test_a_cancelled_call_frees_its_walk(client: triton.InferenceServerClient, served: tuple[str, str]) -> None:
    calls = [client.async_infer(MODEL, files(*noisy(60, seed=6)[0]), callback=lambda *_: None) for _ in range(5)]
    for call in calls:
        call.cancel()
    deadline = time.monotonic() + 30
    while client.infer(MODEL, files(RED)) is None and time.monotonic() < deadline:
        pass
    scrape = Scrape.of(served[0])
    assert scrape.total("offramp_requests_total", outcome="error") == 0


def test_a_port_that_is_taken_stops_the_start_with_its_reason(colours: Path, served: tuple[str, str]) -> None:
    port = served[1].rpartition(":")[2]
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--grpc-port", port, "--models", str(colours)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert f"grpc_port {port} can't be had" in done.stderr


def test_the_descriptors_are_those_of_the_proto(root: Path, tmp_path: Path) -> None:
    made = tmp_path / "inference.binpb"
    subprocess.run(
        [str(root / "scripts" / "make-proto"), str(made)],
        check=True,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
    )
    assert made.read_bytes() == (root / "service" / "api" / "rpc" / "inference.binpb").read_bytes()
