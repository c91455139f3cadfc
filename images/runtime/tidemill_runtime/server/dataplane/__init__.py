"""Predicting without any transport: limits, batching, metadata, explanations."""
