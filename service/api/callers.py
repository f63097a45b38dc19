"""Who asks: the request's id, and the tenant whose API key came with it."""

from __future__ import annotations

from fastapi import Request

from service.core import Caller
from service.engine import Engine
from service.tenants import Account


def of(request: Request, model: str | None = None) -> Caller:
    """The caller, who may use that model.

    Raises:
        Unauthenticated: keys are asked for, and this request has none that is known.
        Forbidden: its key doesn't open the model.
    """
    account = _account(request)
    if account is not None and model is not None:
        account.check_model(model)
    return Caller(request.state.request_id, account)


def check_admin(request: Request) -> None:
    """Raises Unauthenticated or Forbidden unless the caller may change what is served. Without tenants, anybody may."""
    account = _account(request)
    if account is not None:
        account.check_admin()


def _account(request: Request) -> Account | None:
    engine: Engine = request.app.state.engine
    return engine.tenants.account(request.headers)
