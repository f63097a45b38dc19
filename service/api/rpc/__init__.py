"""The Open Inference Protocol v2 over gRPC. Needs the extra `grpc`; nothing outside this folder does."""
