"""Every error that offramp raises on purpose, as one tree.

    OfframpError
    +-- RequestError            the request is at fault; the same request fails again
    |   +-- Malformed           400  unreadable body, unknown or ill-typed budget key, broken image
    |   +-- Unauthenticated     401  no API key, or one that nobody has
    |   +-- Forbidden           403  a key that doesn't open this
    |   +-- UnknownModel        404
    |   +-- TooLarge            413  bytes, pixels, frames or inputs above a limit
    |   +-- UnsupportedMedia    415  a type that no model here reads, or a body that is not what it says
    |   +-- Unsupported         501  a part of a protocol that isn't here
    |   +-- ImpossibleBudget    422  no walk of this model can keep that budget
    +-- ServiceError            the server or the moment is at fault; a retry may help
    |   +-- Later                    with the seconds after which a retry makes sense
    |   |   +-- QuotaExceeded   429  the tenant's compute is used up for now
    |   |   +-- Overloaded      503
    |   +-- NotReady            503  starting, draining, or this model failed to load
    |   +-- DeadlinePassed      504  only with `on_miss=fail`
    |   +-- StageFailed         500  a stage raised; the other walkers of its batch are told the same
    +-- Cancelled               499  the client left; never sent, only counted
    +-- PackageError            a package on disk is wrong: names file, field and remedy
    +-- SettingsError           a setting is wrong: names it and what it accepts

Each type owns its HTTP status, its gRPC code (by name, so that nothing here needs grpc) and whether the same
request may succeed later. Only `service.api` turns them into bytes.
"""

from __future__ import annotations

from typing import Any, ClassVar


class OfframpError(Exception):
    """Base of the tree. `detail` is a sentence for the caller; `extra` are members of its problem+json."""

    status: ClassVar[int] = 500
    grpc: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Internal error"
    slug: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class RequestError(OfframpError):
    """The request is at fault."""

    status, grpc, title, slug = 400, "INVALID_ARGUMENT", "Bad request", "bad-request"


class Malformed(RequestError):
    """The body, a header or a parameter can't be read as what it has to be."""

    title, slug = "Malformed request", "malformed"


class Unauthenticated(RequestError):
    """No API key where one is needed, or one that isn't known."""

    status, grpc, title, slug = 401, "UNAUTHENTICATED", "No valid key", "unauthenticated"


class Forbidden(RequestError):
    """The API key is known, but doesn't open this model or this route."""

    status, grpc, title, slug = 403, "PERMISSION_DENIED", "Not for this key", "forbidden"


class UnknownModel(RequestError):
    """No model of that name, or none for that modality."""

    status, grpc, title, slug = 404, "NOT_FOUND", "Unknown model", "unknown-model"


class TooLarge(RequestError):
    """A limit on bytes, pixels, frames or inputs would be passed; refused before memory is taken for it."""

    status, title, slug = 413, "Input too large", "too-large"


class UnsupportedMedia(RequestError):
    """A media type that the model doesn't read, or bytes that aren't of the type they claim."""

    status, title, slug = 415, "Unsupported media type", "unsupported-media"


class Unsupported(RequestError):
    """A part of a protocol that isn't offered here."""

    status, grpc, title, slug = 501, "UNIMPLEMENTED", "Not offered", "unsupported"


class ImpossibleBudget(RequestError):
    """No walk of this model can keep the budget; `extra` says what could be kept."""

    status, grpc, title, slug = 422, "FAILED_PRECONDITION", "Impossible budget", "impossible-budget"


class ServiceError(OfframpError):
    """The server or the moment is at fault."""

    status, grpc, retryable = 503, "UNAVAILABLE", True


class Later(ServiceError):
    """Not now; `retry_after` is in seconds."""

    def __init__(self, detail: str, *, retry_after: float, **extra: Any) -> None:
        super().__init__(detail, retry_after=retry_after, **extra)
        self.retry_after = retry_after


class Overloaded(Later):
    """No room now. `retry_after` is in seconds."""

    title, slug = "Overloaded", "overloaded"


class QuotaExceeded(Later):
    """The tenant has used up its compute for now. `retry_after` is in seconds."""

    status, grpc, title, slug = 429, "RESOURCE_EXHAUSTED", "Quota used up", "quota-exceeded"


class NotReady(ServiceError):
    """Starting, draining, or the model failed to load."""

    title, slug = "Not ready", "not-ready"


class DeadlinePassed(ServiceError):
    """The deadline passed and the caller asked to fail then (`on_miss=fail`)."""

    status, grpc, title, slug = 504, "DEADLINE_EXCEEDED", "Deadline passed", "deadline-passed"


class StageFailed(ServiceError):
    """A stage raised while this walker was in its batch."""

    status, grpc, title, slug = 500, "INTERNAL", "Stage failed", "stage-failed"


class Cancelled(OfframpError):
    """The client closed the connection."""

    status, grpc, title, slug = 499, "CANCELLED", "Cancelled", "cancelled"


class PackageError(OfframpError):
    """A package on disk can't be served. The message names file, field and remedy."""

    title, slug = "Broken package", "broken-package"

    def __init__(self, file: object, field: str, problem: str, remedy: str) -> None:
        super().__init__(f"{file}: {field}: {problem}; {remedy}")
        self.file, self.field, self.problem, self.remedy = str(file), field, problem, remedy


class SettingsError(OfframpError):
    """A setting is unknown or has a value that it doesn't accept."""

    title, slug = "Bad setting", "bad-setting"
