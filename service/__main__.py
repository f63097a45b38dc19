"""The `offramp` command: serve, models, explain, bench."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from service.commands import bench, explain, models, serve
from service.errors import OfframpError
from service.settings import Settings, from_environment

Command = Callable[[argparse.Namespace, Settings], int]
_COMMANDS = (serve, models, explain, bench)
_FLAGS = ("host", "port", "grpc_port", "lanes", "device", "log_level")
"""The settings that have a flag."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 2 for a mistake in the call, 1 for a failure."""
    given = _parser().parse_args(arguments)
    try:
        overrides = {name: getattr(given, name, None) for name in _FLAGS}
        settings = from_environment(os.environ, models=tuple(given.models or ()) or None, **overrides)
        run: Command = given.run
        return run(given, settings)
    except OfframpError as error:
        print(f"offramp: {error.detail}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="offramp", description="Inference with a budget on every request.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        sub = subparsers.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        sub.add_argument("--models", action="append", type=Path, metavar="DIR", help="folder of packages; repeatable")
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
