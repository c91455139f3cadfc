"""The HTTP transport: connections, bodies, routes."""
