"""Drives with known poses against a map: answers, judgements, figures, a page."""
