"""Writes what is derived from the API types: CRD files and the field tables of the kind pages.

Why: the pydantic types are the one source; CRDs and reference tables that are kept by hand drift apart from it.
It reads types and writes files; it never talks to a cluster.
"""
