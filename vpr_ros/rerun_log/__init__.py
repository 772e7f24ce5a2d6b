"""Logs of drives for Rerun's viewer; the one room that uses rerun-sdk, which is an extra."""
