"""What the node knows of the drive at hand, without ROS: events in, answers out."""
