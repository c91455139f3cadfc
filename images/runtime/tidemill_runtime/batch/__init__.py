"""Offline prediction: a data set scored into one file, with the rules of the server and without one."""
