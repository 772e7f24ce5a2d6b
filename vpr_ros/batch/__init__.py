"""Work on many things in several processes, of this machine or of a Ray cluster.

Knows nothing of maps and images, so that the map builder and the trainer share it.
"""
