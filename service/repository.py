"""Loads and unloads models while the server serves: packages that appeared, changed, or shall go."""

from __future__ import annotations

import asyncio
import logging
import time

from service.engine import Engine
from service.errors import NotReady, PackageError
from service.model import Model
from service.package.load import load as load_package

log = logging.getLogger(__name__)

_LOOK_S = 0.005


class Repository:
    """One change at a time. Used by the event loop's thread only."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._changing = asyncio.Lock()

    async def load(self, name: str) -> None:
        """Serve the package of that name as it lies on disk now. While it is prepared the old one goes on; in the
        moment of the change, until the old one's last walk is over, requests are told to come again.

        Raises:
            UnknownModel: there is no such package.
            PackageError: it can't be served; what was served before still is.
            NotReady: the server is starting or stopping, or the old model's walks don't end.
        """
        async with self._changing:
            self._check_ready()
            catalogue = self.engine.catalogue
            path = await asyncio.to_thread(catalogue.folder, name)
            served = catalogue.models.get(name)
            if served is not None and await asyncio.to_thread(_unchanged, served):
                catalogue.put_back(name)
                return
            fresh = await asyncio.to_thread(catalogue.prepare, path)
            await self._empty(fresh.name)
            self.engine.install(fresh)

    async def unload(self, name: str) -> None:
        """Take no new work for a model, finish what it has, and free what it held.

        Raises:
            NotReady, UnknownModel: it isn't served.
        """
        async with self._changing:
            self._check_ready()
            self.engine.catalogue.withdraw(name)
            await self._empty(name)
            self.engine.remove(name)
            log.info("unloaded %s", name)

    def _check_ready(self) -> None:
        if not self.engine.ready:
            raise NotReady("the server is starting or stopping")

    async def _empty(self, name: str) -> None:
        """Wait until no walk of a model is left; nothing new comes in meanwhile.

        Raises:
            NotReady: somebody is still there after `settings.drain_s`; the model is served as before.
        """
        served = self.engine.models.get(name)
        if served is None:
            return
        was_out = name in self.engine.withdrawn
        self.engine.withdrawn.add(name)
        give_up_at = time.monotonic() + self.engine.settings.drain_s
        while not self.engine.idle(served):
            if time.monotonic() > give_up_at:
                if not was_out:
                    self.engine.catalogue.put_back(name)
                raise NotReady(f"model {name!r} still has walks that don't end")
            await asyncio.sleep(_LOOK_S)


def _unchanged(served: Model) -> bool:
    """Whether a model's folder is what it was loaded from, its files verified."""
    try:
        return load_package(served.package.path).digest == served.package.digest
    except PackageError:
        return False
