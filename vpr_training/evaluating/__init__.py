"""How often a model finds the right place: descriptors on disk, exact search, recall, its page."""
