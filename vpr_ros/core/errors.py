"""One root for every error a user can cause.

Commands turn all of them into one line and exit status 2. A message says what came, what was
expected and where. Not finding a place is no error: see estimate.NoFix.
"""


class VprError(Exception):
    """Input that cannot be used; the message is meant for the person who gave it."""


class ImageError(VprError):
    """An image that cannot be decoded, or whose fields contradict each other."""


class DocumentError(VprError):
    """YAML or JSON that is damaged or unbounded; whoever reads the file says which it is."""


class ModelError(VprError):
    """A model folder that is missing, damaged or of another kind than expected."""


class MapError(VprError):
    """A map folder that is missing, damaged, unwritable or made for another model."""


class DriveError(VprError):
    """A recording (bag or image folder) that lacks what the task needs."""


class ConfigError(VprError):
    """A setting outside its legal range, or one that does not exist."""


class BackendError(VprError):
    """What runs networks faster (TensorRT, CUDA) is missing, or fails."""
