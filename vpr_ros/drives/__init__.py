"""Recorded drives: bags and image folders, read into one form. Needs no ROS, so that the trainer reads them too."""
