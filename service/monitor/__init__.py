"""Watches in service whether the certificates still hold. Pure: no threads, no I/O, no clock (docs/shadow.md)."""
