"""Compression of any package, as options of the export: fewer channels, lower rank, int8 (docs/compression.md).

All of it works on the package's ONNX graphs and on inputs that real walks bring to each stage; nothing needs torch or
labels. What was certified of the package before is void after: its recipe calibrates the new graphs.
"""
