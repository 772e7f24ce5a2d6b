"""Between ROS and the core: messages, parameters, quality of service, transforms, diagnostics."""
