"""Everything that computes: numpy, OpenCV, faiss and onnxruntime, no ROS and no torch."""
