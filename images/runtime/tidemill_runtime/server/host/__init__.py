"""Sockets and readiness of a server process."""
