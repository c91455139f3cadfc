"""Records of versions in the artifact store: written, read and made versions of, for pipelines and imports alike."""
