"""From a query to a fix: retrieve, judge, estimate, refine."""
