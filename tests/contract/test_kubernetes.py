"""The Kubernetes manifests: valid by Kubernetes' own schemas, buildable by kustomize, and true of this server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.api import ops
from service.settings import PREFIX, from_environment
from tests.contract import environments

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.parent for path in FOLDER.glob("*/kustomization.yaml"))
FILES = sorted(path for path in FOLDER.glob("*/*.yaml") if path.name != "kustomization.yaml")
OTHERS = {"ScaledObject"}
"""Kinds that Kubernetes itself doesn't know."""
VALIDATOR, VERSIONS = "1.37.0", ("1.30", "1.33")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    (found,) = read(FOLDER / "base" / "deployment.yaml")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_every_file_is_in_its_kustomization() -> None:
    for overlay in OVERLAYS:
        named = set(read(overlay / "kustomization.yaml")["resources"])
        there = {path.name for path in overlay.glob("*.yaml")} - {"kustomization.yaml"}
        assert {name for name in named if "/" not in name} == there
        assert all((overlay / name).exists() for name in named)


@pytest.mark.slow
def test_kubernetes_would_take_them(tmp_path: Path) -> None:
    # 17,000 files of schemas: nothing for everybody's environment.
    python = environments.make(tmp_path / "environment", f"kubernetes-validate=={VALIDATOR}")
    (wrong := tmp_path / "wrong.yaml").write_text(
        (FOLDER / "base" / "service.yaml").read_text().replace("ports", "port")
    )
    ours = [file for file in FILES if read(file)["kind"] not in OTHERS]
    for version in VERSIONS:
        command = [python, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", version]
        done = subprocess.run([*command, *ours], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert subprocess.run([*command, wrong], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda overlay: overlay.name)
def test_kustomize_builds_it(overlay: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed: apt-get install kubernetes-client")
    done = subprocess.run([kubectl, "kustomize", overlay], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert made["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"] == "offramp:cpu"
    assert {one["metadata"].get("namespace") for kind, one in made.items() if kind != "Namespace"} == {"offramp"}
    scaled = made.get("ScaledObject") or made.get("HorizontalPodAutoscaler")
    assert (scaled is None) == (overlay.name == "base")
    assert scaled is None or scaled["spec"]["scaleTargetRef"]["name"] == made["Deployment"]["metadata"]["name"]


def test_everything_is_found_by_the_same_label() -> None:
    label = {"app.kubernetes.io/name": "offramp"}
    deployment, service = (read(FOLDER / "base" / f"{name}.yaml") for name in ("deployment", "service"))
    assert deployment["spec"]["selector"]["matchLabels"] == label == service["spec"]["selector"]
    assert label.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_probes_ask_routes_that_are_there(container: dict[str, Any]) -> None:
    routes = {getattr(route, "path", None) for route in ops.router.routes}
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in routes
        assert container[probe]["httpGet"]["port"] in ports
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_settings_are_taken_and_work_is_finished_before_the_kill(container: dict[str, Any]) -> None:
    settings = from_environment({one["name"]: one["value"] for one in container["env"]})
    assert all(one["name"].startswith(PREFIX) for one in container["env"])
    pod = read(FOLDER / "base" / "deployment.yaml")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > settings.drain_s + 5


def test_it_runs_as_the_image_does(root: Path, container: dict[str, Any]) -> None:
    dockerfile = (root / "Dockerfile").read_text()
    pod = read(FOLDER / "base" / "deployment.yaml")["spec"]["template"]["spec"]
    assert f"USER {pod['securityContext']['runAsUser']}" in dockerfile
    assert f"EXPOSE {' '.join(str(port['containerPort']) for port in container['ports'])}" in dockerfile
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_uploads_have_a_place_on_disk_larger_than_the_server_fills(container: dict[str, Any]) -> None:
    pod = read(FOLDER / "base" / "deployment.yaml")["spec"]["template"]["spec"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    (mount,) = container["volumeMounts"]
    (volume,) = (one for one in pod["volumes"] if one["name"] == mount["name"])
    assert mount["mountPath"] == "/tmp"
    assert "medium" not in volume["emptyDir"]
    assert float(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30 > from_environment({}).max_spool_bytes
