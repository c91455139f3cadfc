"""Bytes of requests to frames, predictions to bytes: V2, V1, binary tensors, protobuf."""
