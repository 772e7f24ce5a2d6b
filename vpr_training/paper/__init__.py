"""The paper's tables and figures: what was published, and the runs that repeat it."""
