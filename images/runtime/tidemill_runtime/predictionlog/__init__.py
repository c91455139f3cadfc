"""Prediction records and the client that posts them to the monitor; used by the server and by batch prediction."""
