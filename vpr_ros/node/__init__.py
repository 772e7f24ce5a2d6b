"""The node `localize`: the only room, beside playing bags, that speaks ROS."""
