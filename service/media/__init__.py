"""Bytes to glimpses, bounded and lazy: a source is opened by its header alone, and decoded only as far as asked."""
