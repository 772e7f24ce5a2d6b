"""Errors of the trainer, children of the one root that every command turns into a single line."""

from vpr_ros.core.errors import VprError


class TrainingError(VprError):
    """A network, checkpoint or training set that cannot be used."""


class DatasetError(TrainingError):
    """A data set on disk whose layout, table or names cannot be used."""
