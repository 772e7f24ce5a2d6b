"""Find the robot on a mapped route by camera images: a pose with a probability, or no answer."""
