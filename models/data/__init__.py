"""Data sets as arrays, and their splits."""
