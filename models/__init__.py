"""Authoring of packages: data, networks, training, export, calibration.

The package root imports nothing heavy: the wheel ships the zoo below it, and a serving machine has no torch.
"""
