"""Recognize a place by the cells of its image: see the place, not its average."""
