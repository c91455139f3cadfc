"""From a verified version on disk to a model that has answered its sample rows."""
