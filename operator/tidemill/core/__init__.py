"""Pure helpers that every slice shares: no I/O, no clock, no randomness, no knowledge of a single kind."""
