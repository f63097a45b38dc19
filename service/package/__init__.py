"""Packages on disk: what a model is made of, and what its calibration record certifies."""
