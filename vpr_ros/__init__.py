"""Say from one camera image where on a mapped route the robot is, how sure it is, or nothing."""
