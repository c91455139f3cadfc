"""The life of a server process: start, workers, drain, and the admin port."""
