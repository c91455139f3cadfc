"""Sockets, readiness and log lines of a server process."""
