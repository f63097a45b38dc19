"""The command line of a recipe: its phases in order, or one of them."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folder:
    """A folder that each phase is handed; an option of that name chooses another."""

    name: str
    default: Path
    help: str | None = None


def run(
    module: str,
    phases: Mapping[str, Callable[..., None]],
    folders: Sequence[Folder],
    arguments: Sequence[str] | None = None,
) -> None:
    """Run all phases, or the one that `--phase` names, each with all folders in their order; the first is made."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("--phase", choices=phases, help="only this one; what it needs must have run")
    for folder in folders:
        parser.add_argument(f"--{folder.name}", type=Path, default=folder.default, help=folder.help)
    given = parser.parse_args(arguments)
    chosen = [getattr(given, folder.name) for folder in folders]
    chosen[0].mkdir(parents=True, exist_ok=True)
    for name, phase in phases.items():
        if given.phase in (None, name):
            print(f"{name} ..", flush=True)
            phase(*chosen)
