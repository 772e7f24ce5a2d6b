"""A run: its settings, how it starts, the loop, its folder, and the end of fine-tuning."""
