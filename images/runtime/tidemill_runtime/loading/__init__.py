"""From the configuration that names a version to a model that repeats the recorded answers to its sample rows."""
