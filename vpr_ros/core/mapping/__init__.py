"""A map on disk and in memory: its header, files, rows, grid and search."""
