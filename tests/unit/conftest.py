"""What unit tests share: properties are tried without a limit of time, since a busy machine proves nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("offramp", deadline=None)
settings.load_profile("offramp")
