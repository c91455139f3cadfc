"""Addresses that requests may lead to, and heads of HTTP requests."""
