"""ModelImport: one Job that copies a model into this namespace's store, and the version that comes of it."""
