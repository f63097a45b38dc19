"""Answers and models as JSON-ready dictionaries; the shapes are in `schemas`."""

from __future__ import annotations

import base64
from typing import Any

from service.answer import Answer
from service.core import Reached, Step
from service.core import named as price
from service.model import Model
from service.package.curves import Certificate, CurvePoint
from service.package.load import Package
from service.task.base import MapForm


def answer(given: Answer, form: MapForm = "runs") -> dict[str, Any]:
    """An answer with its receipt; `form` of a map, where the answer is one."""
    ledger, manifest = given.ledger, given.package.manifest
    shown: dict[str, Any] = {
        "model": manifest.name,
        "version": manifest.version,
        "output": given.package.task.document(given.standing.output, given.package.labels, form),
        "exit": given.standing.exit,
        "reason": given.reason.value,
        "compute": {
            "mmacs": ledger.macs / 1e6,
            "fraction_of_full": given.fraction_of_full,
            "device_ms": _ms(ledger.device_s),
            "stages": ledger.stages,
        },
        "budget": {
            "asked": given.asked,
            "met": all(given.kept.values()),
            "price": price(given.price),
            "forced": given.reason.forced,
            "certificate": given.certificate,
        },
        "timing_ms": timing(given),
    }
    if given.trace is not None:
        seen = given.seen or [()] * len(given.trace)
        shown["walk"] = [_step(step) | {"seen": list(saw)} for step, saw in zip(given.trace, seen, strict=True)]
        if given.picture is not None:
            shown["picture"] = "data:image/png;base64," + base64.b64encode(given.picture).decode()
    return shown


def reached(passed: Reached, package: Package, form: MapForm = "runs") -> dict[str, Any]:
    """An exit that a walk has passed: the answer so far, and what it had cost by then."""
    return {
        "exit": passed.standing.exit,
        "output": package.task.document(passed.standing.output, package.labels, form),
        "compute": {
            "mmacs": passed.macs / 1e6,
            "fraction_of_full": passed.macs / (passed.full_macs or package.graph.full_macs),
            "device_ms": _ms(passed.device_s),
            "stages": list(passed.stages),
        },
    }


def timing(given: Answer) -> dict[str, float]:
    """Where an answer's time went, in ms."""
    ledger = given.ledger
    return {
        "decode": _ms(ledger.decode_s),
        "queue": _ms(ledger.queue_s),
        "compute": _ms(ledger.device_s),
        "total": _ms(given.seconds),
    }


def model(served: Model) -> dict[str, Any]:
    """A model in full."""
    graph, manifest = served.package.graph, served.package.manifest
    return {
        **line(served),
        "description": manifest.description,
        "labels": list(served.package.labels),
        "full_mmacs": graph.full_macs / 1e6,
        "exits": list(graph.exits),
        "stages": [
            {
                "name": stage.name,
                "mmacs": stage.macs_per_row / 1e6,
                "ms": _ms(times.seconds(1)),
                "exit": stage.exit,
                "next": list(stage.next),
            }
            for place, stage in enumerate(manifest.stages)
            for times in [served.course.times[graph.first_place(place)]]
        ],
        "default": standing(served, served.curve.default),
        "curve": [_point(point) for point in served.curve.points],
        "package": served.package.digest,
    }


def line(served: Model) -> dict[str, Any]:
    """A model as the list shows it."""
    manifest = served.package.manifest
    shown = {name: getattr(manifest, name) for name in ("name", "version", "modality", "task", "family")}
    trouble = served.auditor.trouble
    return {**shown, "state": "degraded" if trouble else "ready", "reason": trouble}


def out(name: str, state: str, reason: str | None) -> dict[str, Any]:
    """A package that isn't served, as the list shows it."""
    unknown = dict.fromkeys(("version", "modality", "task", "family"))
    return {"name": name, **unknown, "state": state, "reason": reason}


def standing(served: Model, issued: Certificate) -> dict[str, Any]:
    """A certificate, and what is served under it now."""
    in_force = served.auditor.standing(issued)
    return {
        **certificate(issued),
        "monitored": served.auditor.monitored(issued),
        "status": "valid" if in_force.id == issued.id else "suspended",
        "in_force": certificate(in_force),
    }


def certificate(issued: Certificate) -> dict[str, Any]:
    """A certificate."""
    names = ("id", "kind", "target", "confidence", "n", "k", "package", "provider", "precision")
    shown = {name: getattr(issued, name) for name in names}
    return {**shown, "price": price(issued.price), "mean_mmacs": issued.mean_macs / 1e6}


def _step(step: Step) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "exit": step.exit,
        "score": step.score,
        "price": price(step.price),
        "batch_rows": step.batch_rows,
        "queue_ms": _ms(step.queue_s),
        "stage_ms": _ms(step.stage_s),
        "verdict": step.verdict,
        "next": step.next,
        "rows": step.rows,
        "signals": dict(step.signals),
    }


def _point(point: CurvePoint) -> dict[str, Any]:
    return {
        "price": price(point.price),
        "mean_mmacs": point.mean_macs / 1e6,
        "fraction_of_full": point.fraction_of_full,
        "accuracy": point.accuracy,
        "agreement": point.agreement,
        "certified": {
            "accuracy": point.certified_accuracy,
            "agreement": point.certified_agreement,
            "max_drop": point.certified_max_drop,
        },
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)
