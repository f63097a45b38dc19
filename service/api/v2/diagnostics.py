"""Log and trace settings in the protocol's words: the log's level can be changed; walks are told by `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service import journal
from service.errors import Malformed, Unsupported

_LEVELS = ("error", "warning", "info", "debug")
_SWITCHES = {"log_error": 0, "log_warning": 1, "log_info": 2}
_FIXED: Mapping[str, Any] = {"log_file": "", "log_format": "default"}
_TRACE: Mapping[str, Any] = {"trace_level": ["OFF"], "trace_rate": "1000", "trace_count": "-1", "log_frequency": "0"}


def log_settings() -> dict[str, Any]:
    """Those in force."""
    reach = _LEVELS.index(journal.level())
    switches = {name: reach >= place for name, place in _SWITCHES.items()}
    return {**_FIXED, **switches, "log_verbose_level": int(reach > max(_SWITCHES.values()))}


def change_log(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Log more or less from now on; what isn't named stays. Returns the settings then in force.

    Raises:
        Malformed: no setting of the protocol, or no value of its type.
        Unsupported: another file, form, or fewer lines than errors.
    """
    wanted = log_settings()
    for name, value in asked.items():
        if name not in wanted:
            raise Malformed(f"{name[:100]!r} is no log setting; there are {sorted(wanted)}")
        if type(value) is not type(wanted[name]):
            raise Malformed(f"{name} must be a {type(wanted[name]).__name__}")
        if name in _FIXED and value != wanted[name]:
            raise Unsupported(f"{name} is set where the server is started: OFFRAMP_LOG_FORMAT, standard error")
        wanted[name] = value
    if not wanted["log_error"]:
        raise Unsupported("errors are always logged")
    verbose, info, warning = (wanted[name] for name in ("log_verbose_level", "log_info", "log_warning"))
    journal.set_level("debug" if verbose > 0 else "info" if info else "warning" if warning else "error")
    return log_settings()


def trace_settings() -> dict[str, Any]:
    """Those in force: no tracing."""
    return dict(_TRACE)


def change_trace(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Take what leaves tracing off; None clears a setting, which is that.

    Raises:
        Malformed: no setting of the protocol.
        Unsupported: it would trace.
    """
    for name, value in asked.items():
        if name not in {*_TRACE, "trace_mode", "trace_config", "trace_file"}:
            raise Malformed(f"{name[:100]!r} is no trace setting; there are {sorted(_TRACE)}")
        if name == "trace_level" and value not in (None, [], ["OFF"], "OFF"):
            raise Unsupported("nothing is traced here: `explain=true` on /v1 tells a walk stage by stage")
    return trace_settings()
