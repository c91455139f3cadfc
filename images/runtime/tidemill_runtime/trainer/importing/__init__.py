"""Importing a model: a version or a file from anywhere, by digest, into the store of this namespace."""
