"""`GET /v1/models/{model}/certificates`: what the package promises, as a menu or for one target."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from service.api import render
from service.api.openapi import errors
from service.api.schemas import CertificateList
from service.engine import Engine
from service.errors import Malformed
from service.package.curves import DEFAULT_CONFIDENCE
from service.package.menu import menu

router = APIRouter(tags=["operations"])

Kind = Literal["accuracy", "agreement", "max_drop"]
Confidence = Annotated[float, Query(ge=0.5, lt=1, description="Confidence; of all certificates together for the menu.")]
Target = Annotated[float | None, Query(ge=0, le=1, description="With `kind`: this target alone, certified on demand.")]


@router.get("/v1/models/{model}/certificates", response_model=CertificateList, responses=errors(400, 404, 422, 503))
async def certificates(
    request: Request,
    model: str,
    kind: Kind | None = None,
    target: Target = None,
    confidence: Confidence = DEFAULT_CONFIDENCE,
) -> JSONResponse:
    """A menu of targets that hold together (Bonferroni), or one target by `kind` and `target`."""
    engine: Engine = request.app.state.engine
    served = engine.model(model)
    if (kind is None) != (target is None):
        raise Malformed("kind and target go together: both for one certificate, neither for the menu")
    if kind is not None and target is not None:
        one = render.standing(served, served.curve.certify(kind, target, confidence))
        return JSONResponse({"confidence": confidence, "joint": False, "certificates": [one], "refused": []})
    offered = menu(served.curve, confidence)
    shown = [render.standing(served, issued) for issued in offered.certificates]
    refused = [error.extra for error in offered.refused]
    return JSONResponse({"confidence": confidence, "joint": True, "certificates": shown, "refused": refused})
