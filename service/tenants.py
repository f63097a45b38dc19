"""Who may ask, and for how much compute: API keys, and quotas in multiply-adds a second.

A quota is a bucket of MACs that fills at the tenant's rate. What a walk costs is known only once it is over, so a
request is let in while the bucket isn't empty and holds as much as it may cost at most; that is given back when it
ends, and what its walks really ran is taken. A tenant is so at most one request's worst case ahead of its quota.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import yaml
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import Forbidden, QuotaExceeded, SettingsError, Unauthenticated
from service.telemetry import Metrics

_BURST_S = 10.0
"""A bucket without a size of its own holds this many seconds of its rate."""
_LEAST_WAIT_S = 0.05


class Tenant(BaseModel):
    """One entry of the tenants' file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    keys: Annotated[tuple[Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")], ...], Field(min_length=1)]
    mmacs_per_s: Annotated[float, Field(gt=0)] | None = None
    burst_mmacs: Annotated[float, Field(gt=0)] | None = None
    models: tuple[str, ...] | None = None
    admin: bool = False


class TenantsFile(BaseModel):
    """The tenants' file as a whole; docs/tenants.md shows one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenants: Annotated[tuple[Tenant, ...], Field(min_length=1)]


class Account:
    """A tenant's bucket. Lanes pay from it, the event loop asks it: it has a lock."""

    def __init__(
        self, tenant: Tenant, spent: Counter, refused: Counter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tenant = tenant
        self._spent, self._refused, self._clock = spent, refused, clock
        self._rate = math.inf if tenant.mmacs_per_s is None else tenant.mmacs_per_s * 1e6
        self._size = self._rate * _BURST_S if tenant.burst_mmacs is None else tenant.burst_mmacs * 1e6
        self._left, self._held, self._at = self._size, 0, clock()
        self._lock = Lock()

    def check_model(self, model: str) -> None:
        """Raises Forbidden unless the tenant may use the model."""
        if self.tenant.models is not None and model not in self.tenant.models:
            self._refused.inc()
            raise Forbidden(f"the key of {self.tenant.name} doesn't open model {model[:100]!r}")

    def check_admin(self) -> None:
        """Raises Forbidden unless the tenant may change what is served."""
        if not self.tenant.admin:
            raise Forbidden(f"{self.tenant.name} is no administrator")

    @contextmanager
    def holding(self, macs: int) -> Iterator[None]:
        """Set aside what a request may cost at most, as long as it lasts.

        Raises:
            QuotaExceeded: the bucket is empty; it says when it isn't any more.
        """
        self._hold(macs)
        try:
            yield
        finally:
            with self._lock:
                self._held -= macs

    def pay(self, macs: int) -> None:
        """A walk of the tenant's ran so much, for an answer or for none."""
        self._spent.inc(macs)
        with self._lock:
            self._fill()
            self._left -= macs

    def _hold(self, macs: int) -> None:
        with self._lock:
            self._fill()
            short = self._held - self._left
            if short < 0:
                self._held += macs
                return
        self._refused.inc()
        raise QuotaExceeded(
            f"{self.tenant.name} has used up its {self._rate / 1e6:g} MMACs/s",
            retry_after=max(_LEAST_WAIT_S, short / self._rate),
            tenant=self.tenant.name,
            mmacs_per_s=self._rate / 1e6,
        )

    def _fill(self) -> None:
        now = self._clock()
        if self._rate < math.inf:
            self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now


class Tenants:
    """All accounts, by key. Without a file there are none, and everybody may ask."""

    def __init__(self, tenants: tuple[Tenant, ...], metrics: Metrics) -> None:
        self._by_key: dict[str, Account] = {}
        for tenant in tenants:
            spent, refused = metrics.tenant_macs.labels(tenant.name), metrics.tenant_refused.labels(tenant.name)
            account = Account(tenant, spent, refused)
            if tenant.mmacs_per_s is not None:
                metrics.tenant_quota.labels(tenant.name).set(tenant.mmacs_per_s * 1e6)
            self._by_key |= dict.fromkeys(tenant.keys, account)

    @classmethod
    def of(cls, file: Path | None, metrics: Metrics) -> Tenants:
        """The tenants of a file.

        Raises:
            SettingsError: the file can't be read, isn't what docs/tenants.md says, or names a tenant or a key twice.
        """
        return cls(() if file is None else _read(file), metrics)

    def __bool__(self) -> bool:
        """Whether keys are asked for."""
        return bool(self._by_key)

    def account(self, headers: Mapping[str, str]) -> Account | None:
        """Whose request has these headers (names in lower case); None where no keys are asked for.

        Raises:
            Unauthenticated: no key, or one that nobody has.
        """
        if not self._by_key:
            return None
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        if not key:
            raise Unauthenticated("send an API key: `Authorization: Bearer KEY` or `X-Api-Key: KEY`")
        # Looked up by its digest: how long that takes tells nothing of the keys there are.
        account = self._by_key.get(f"sha256:{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()}")
        if account is None:
            raise Unauthenticated("nobody here has that API key")
        return account


def _read(file: Path) -> tuple[Tenant, ...]:
    try:
        found: Any = yaml.safe_load(file.read_text())
        tenants = TenantsFile.model_validate(found).tenants
    except OSError as error:
        raise SettingsError(f"OFFRAMP_TENANTS: {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"OFFRAMP_TENANTS: {file} is no YAML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "(whole file)"
        raise SettingsError(f"OFFRAMP_TENANTS: {file}: {place}: {first['msg']}") from error
    for kind, values in (
        ("tenant", [tenant.name for tenant in tenants]),
        ("key", [key for tenant in tenants for key in tenant.keys]),
    ):
        if len(set(values)) < len(values):
            raise SettingsError(f"OFFRAMP_TENANTS: {file}: the same {kind} stands there twice")
    return tenants
