"""What the node holds from one transition of its lifecycle to another, and lets go of again."""

from dataclasses import dataclass

from vpr_ros.core.describing.backend import Chosen
from vpr_ros.core.mapping.place_map import PlaceMap
from vpr_ros.node.inputs import Inputs
from vpr_ros.node.maps import MapLoader
from vpr_ros.node.outputs import Outputs
from vpr_ros.rerun_log.drive_log import DriveLog
from vpr_ros.session.mailbox import Mailbox
from vpr_ros.session.session import Session
from vpr_ros.session.worker import Worker


@dataclass(frozen=True, slots=True)
class Configured:
    """What lives from configure to cleanup."""

    session: Session
    mailbox: Mailbox
    outputs: Outputs
    chosen: Chosen
    map_frame: str
    drive_log: DriveLog | None

    @property
    def place_map(self) -> PlaceMap:
        """The map that is searched."""
        return self.session.localizer.place_map

    def close(self) -> None:
        """Release the topics, the log, and what runs the model."""
        self.outputs.destroy()
        if self.drive_log is not None:
            self.drive_log.close()
        self.chosen.close()


@dataclass(frozen=True, slots=True)
class Active:
    """What lives from activate to deactivate."""

    worker: Worker
    inputs: Inputs
    outputs: Outputs
    maps: MapLoader

    def close(self) -> None:
        """Finish the event at work, then stop to listen and to send."""
        self.worker.stop()
        self.maps.close()
        self.inputs.destroy()
        self.outputs.end()
