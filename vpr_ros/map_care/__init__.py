"""Make a map from a drive, change it, check it, and show it."""
