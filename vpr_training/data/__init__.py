"""Data sets: one module per layout on disk, all giving the same form."""
