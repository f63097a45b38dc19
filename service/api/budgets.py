"""A budget from wherever a client put it: query parameters, `Offramp-*` headers, form fields or JSON.

The same key may come from several places only with the same value; an unknown key is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.core import Budget, OnMiss
from service.errors import Malformed

HEADER_PREFIX = "offramp-"
Share = Annotated[float, Field(ge=0, le=1)]


class BudgetFields(BaseModel):
    """What one request may cost and what it must be worth. Every field is optional; docs/budgets.md explains them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    latency_ms: Annotated[float, Field(gt=0, le=3_600_000)] | None = Field(
        None, description="Deadline in ms, from the request's last byte to the answer.", examples=[20]
    )
    accuracy: Share | None = Field(None, description="Share of right answers to certify.", examples=[0.87])
    agreement: Share | None = Field(
        None, description="Share of answers equal to the full network's; 1 runs it whole.", examples=[0.99]
    )
    max_drop: Share | None = Field(
        None, description="Largest share of answers spoilt against the full network.", examples=[0.01]
    )
    confidence: Annotated[float, Field(ge=0.5, lt=1)] | None = Field(
        None, description="Confidence of the certificate that a target is taken from; 0.95 if not given."
    )
    compute_mmacs: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Most millions of multiply-adds to spend.", examples=[40]
    )
    priority: Annotated[int, Field(ge=0, le=7)] | None = Field(
        None, description="Urgency as in RFC 9218: 0 most urgent, 7 least; 3 if not given."
    )
    on_miss: Annotated[OnMiss, Field(strict=False)] | None = Field(
        None, description="`best_effort` (default): answer with what there is; `fail`: 504 when the deadline passes."
    )

    def budget(self) -> Budget:
        """As the engine takes it."""
        return Budget(**self.model_dump(exclude_none=True))


KEYS = frozenset(BudgetFields.model_fields)
_WORDS = {"on_miss"}
_INTEGERS = {"priority"}
# float() would also take "1_000", "nan" and the digits of other scripts.
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def from_texts(
    pairs: Iterable[tuple[str, str]], *, source: str, others: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Budget keys from texts (a query, form fields), converted to numbers; keys in `others` are left alone.

    Raises:
        Malformed: an unknown or repeated key, or a text that is no number.
    """
    found: dict[str, Any] = {}
    for key, text in pairs:
        if key in others:
            continue
        if key not in KEYS:
            raise Malformed(f"{source} names {key[:100]!r}; known are {sorted(KEYS | others)}", key=key[:100])
        if key in found:
            raise Malformed(f"{source} names {key!r} twice", key=key)
        found[key] = _value(key, text, source)
    return found


def from_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Budget keys from headers like `Offramp-Latency-Ms: 20`; other headers are left alone.

    Raises:
        Malformed: an unknown or repeated `Offramp-` header, or a text that is no number.
    """
    ours = ((name.lower().removeprefix(HEADER_PREFIX), text) for name, text in pairs if _is_ours(name))
    return from_texts(((name.replace("-", "_"), text) for name, text in ours), source="a header")


def flag(texts: Sequence[str], *, source: str) -> bool:
    """`explain` from the texts given for it: none is false.

    Raises:
        Malformed: more than one, or neither true nor false.
    """
    if len(texts) > 1:
        raise Malformed(f"{source} names 'explain' twice", key="explain")
    text = texts[0].lower() if texts else "false"
    if text not in _FLAGS:
        raise Malformed(f"{source} gives explain={text[:100]!r}, which is neither true nor false", key="explain")
    return _FLAGS[text]


def merge(*sources: Mapping[str, Any]) -> BudgetFields:
    """One budget of several sources.

    Raises:
        Malformed: two sources differ on a key, a key is unknown, or a value is of the wrong type or out of range.
    """
    merged: dict[str, Any] = {}
    for source in sources:
        for key, value in source.items():
            if key in merged and merged[key] != value:
                raise Malformed(
                    f"budget.{key[:100]} is given twice: {_short(merged[key])} and {_short(value)}", key=key[:100]
                )
            merged[key] = value
    if unknown := sorted(set(merged) - KEYS):
        raise Malformed(f"the budget names {unknown[0][:100]!r}; known are {sorted(KEYS)}", key=unknown[0][:100])
    try:
        return BudgetFields.model_validate(merged)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        raise Malformed(f"budget.{key}: {first['msg']}", key=key) from error


def _is_ours(header: str) -> bool:
    return header.lower().startswith(HEADER_PREFIX)


def _short(value: Any) -> str:
    return repr(value)[:40]


def _value(key: str, text: str, source: str) -> Any:
    if key in _WORDS:
        return text
    if key in _INTEGERS:
        kind, number = "integer", int(text) if _INTEGER.fullmatch(text) else math.nan
    else:
        kind, number = "number", float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise Malformed(f"{source} gives {key}={text[:100]!r}, which is no {kind}", key=key)
    return number
