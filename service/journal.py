"""What is written to the log: a line of JSON each (or plain text for a terminal), and one line an input on demand.

The access log is told here, beside the counters that count the same: `offramp_requests_total` and these lines are one.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from service.core import Caller, Outcome, Walker

ACCESS = logging.getLogger("offramp.access")
ACCESS.setLevel(logging.WARNING)
Form = Literal["auto", "json", "text"]
_LEVELS = ("debug", "info", "warning", "error")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object a record; what a record carries as `fields` are members of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, ASCII, without its end."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def open_log(level: str, form: Form, *, access: bool) -> None:
    """Log to standard error from now on. `auto` is text on a terminal, JSON elsewhere."""
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_TEXT) if text else JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    ACCESS.setLevel(logging.INFO if access else logging.WARNING)


def level() -> str:
    """The least severe lines that are logged: debug, info, warning or error."""
    found = logging.getLogger().getEffectiveLevel()
    return next((name for name in _LEVELS if found <= logging.getLevelNamesMapping()[name.upper()]), _LEVELS[-1])


def set_level(name: str) -> None:
    """Log from that level on."""
    logging.getLogger().setLevel(name.upper())


def answered(model: str, caller: Caller, walker: Walker, outcome: Outcome, *, counted: str, seconds: float) -> None:
    """An input got its answer, which counts as `counted`, after so many seconds."""
    if ACCESS.isEnabledFor(logging.INFO) and outcome.standing is not None and outcome.reason is not None:
        ledger = walker.ledger
        fields = {
            "request_id": caller.request_id,
            "model": model,
            "outcome": counted,
            "exit": outcome.standing.exit,
            "reason": outcome.reason.value,
            "macs": ledger.macs,
            "device_ms": round(ledger.device_s * 1e3, 3),
            "queue_ms": round(ledger.queue_s * 1e3, 3),
            "total_ms": round(seconds * 1e3, 3),
        }
        ACCESS.info("%s %s at %s, %d MACs", model, counted, fields["exit"], ledger.macs, extra={"fields": fields})


def dropped(model: str, caller: Caller, error: BaseException, *, counted: str, macs: int) -> None:
    """An input got none, which counts as `counted`; `macs` had run for it."""
    if ACCESS.isEnabledFor(logging.INFO):
        slug = getattr(error, "slug", type(error).__name__.lower())
        fields = {"request_id": caller.request_id, "model": model, "outcome": counted, "error": slug, "macs": macs}
        ACCESS.info("%s %s: %s, %d MACs", model, counted, slug, macs, extra={"fields": fields})
