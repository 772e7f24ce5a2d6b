"""What every room uses: the errors, files written whole, panels to draw into."""
