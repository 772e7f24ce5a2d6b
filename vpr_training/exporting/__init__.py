"""From a network to a model folder, and back: the ONNX graph, its card, fewer bits, the gates."""
