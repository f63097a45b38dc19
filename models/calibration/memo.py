"""A graph's session that remembers: walks at many prices, and several packages, show the same frames again and
again."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.calibration.traverse import Stages
from models.package import digest


class Memo:
    """In the place of an `InferenceSession` whose graph has one input: a row that was run before isn't run again.

    What is known stands in a file under the graph's own hash; `save` writes it.
    """

    def __init__(self, session: ort.InferenceSession, graph: Path, folder: Path) -> None:
        self._session, self._file = session, folder / f"memo-{digest(graph)[:16]}.npz"
        self._names = [port.name for port in session.get_outputs()]
        self._known: dict[str, list[NDArray[Any]]] = {}
        if self._file.exists():
            with np.load(self._file) as kept:
                columns = [kept[name] for name in self._names]
                for place, key in enumerate(kept["keys"].tolist()):
                    self._known[key] = [column[place] for column in columns]
        self._before = len(self._known)

    def __len__(self) -> int:
        """Rows that are known."""
        return len(self._known)

    def get_inputs(self) -> Any:
        """As the session's."""
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        """As the session's."""
        return self._session.get_outputs()

    def run(self, _: None, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """As the session's, with all outputs."""
        [(name, rows)] = inputs.items()
        keys = [hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()[:32] for row in rows]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        for start in range(0, len(new), 16):
            some = new[start : start + 16]
            made = self._session.run(None, {name: rows[some]})
            for place, row in enumerate(some):
                self._known[keys[row]] = [output[place] for output in made]
        return [np.stack([self._known[key][place] for key in keys]) for place in range(len(self._names))]

    def save(self) -> None:
        """Write what is known, if there is more than there was."""
        if len(self._known) > self._before:
            columns = {
                name: np.stack([row[place] for row in self._known.values()]) for place, name in enumerate(self._names)
            }
            np.savez(self._file, keys=np.array(list(self._known)), **columns)  # type: ignore[arg-type]


@contextmanager
def remembering(stages: Stages, names: Sequence[str], package: Path, folder: Path) -> Iterator[Stages]:
    """The stages with a `Memo` in the place of some sessions; what they learned is kept in `folder`."""
    sessions = [
        Memo(session, package / stage.graph, folder) if stage.name in names else session
        for stage, session in zip(stages.manifest.stages, stages.sessions, strict=True)
    ]
    yield replace(stages, sessions=sessions)
    for session in sessions:
        if isinstance(session, Memo):
            session.save()
