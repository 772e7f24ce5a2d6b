"""What the commands share: their guard and their options."""
