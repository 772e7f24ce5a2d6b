"""What changes the weights: losses, schedules, distillation, whitening, and their settings."""
