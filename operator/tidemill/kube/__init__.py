"""The only package that talks to the API server. It decides nothing: what to read or write comes from above."""
