"""Model families: how each is recognised, stored, loaded and asked."""
