"""A fleet's maps in one store: push a map, pull a cut of it, list versions, go back to one."""
