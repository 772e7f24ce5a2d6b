"""Points of the scene: found in images, triangulated, and a camera placed among them."""
