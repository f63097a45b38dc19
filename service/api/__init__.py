"""HTTP: thin handlers that know no ONNX and no family."""
