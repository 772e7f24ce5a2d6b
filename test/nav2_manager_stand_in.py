"""Stands in for Nav2's lifecycle manager, which is in no package index.

Does to one node what nav2_lifecycle_manager's source does: it waits for the node's services, asks
for each transition, asks after the state, and after activation forms a bond as bondcpp does, for
which it waits half of `bond_timeout`. Then it watches the heartbeats. A script, because the type
of the bond's messages has to be on the library path when Python starts.

    python nav2_manager_stand_in.py NODE BOND_TIMEOUT STEP ...    # startup, pause, resume, broken

Prints a line for each step that succeeds; exit status 1 at the first that does not.
"""

import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

GOALS = {
    Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
    Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
}
HEARTBEAT_S = 0.1


class BringupError(Exception):
    """The manager gives up."""


class SisterBond:
    """The manager's side of a bond: waiting, alive or broken."""

    def __init__(self, node: Node, name: str, timeout_s: float) -> None:
        from bond.msg import Status

        self._kind, self._node, self._name, self._timeout_s = Status, node, name, timeout_s
        self._instance_id = str(uuid.uuid4())
        self._heard_s: float | None = None
        self._goodbye = False
        self.beats = 0
        self._publisher = node.create_publisher(Status, 'bond', 5)
        self._subscription = node.create_subscription(Status, 'bond', self._on_status, 100)
        self._timer = node.create_timer(HEARTBEAT_S, lambda: self._send(True))

    @property
    def formed(self) -> bool:
        return self._heard_s is not None

    @property
    def why_broken(self) -> str:
        if self._goodbye:
            return 'the node said goodbye'
        late = self._heard_s is not None and time.monotonic() - self._heard_s > self._timeout_s
        return 'no heartbeat' if late else ''

    def close(self) -> None:
        self._send(False)
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _on_status(self, message: Any) -> None:
        if message.id != self._name or message.instance_id == self._instance_id:
            return
        if not message.active:
            self._goodbye = True
        elif not self._goodbye:
            self._heard_s = time.monotonic()
            self.beats += 1

    def _send(self, active: bool) -> None:
        message = self._kind()
        message.id, message.instance_id, message.active = self._name, self._instance_id, active
        message.heartbeat_timeout, message.heartbeat_period = self._timeout_s, HEARTBEAT_S
        self._publisher.publish(message)


class Manager:
    """One node's manager."""

    def __init__(self, name: str, bond_timeout_s: float) -> None:
        self._node = Node('lifecycle_manager')
        self._name, self._bond_timeout_s = name, bond_timeout_s
        self._change = self._node.create_client(ChangeState, f'{name}/change_state')
        self._state = self._node.create_client(GetState, f'{name}/get_state')
        self._bond: SisterBond | None = None

    def startup(self) -> str:
        self._transition(Transition.TRANSITION_CONFIGURE)
        return self.resume()

    def resume(self) -> str:
        self._transition(Transition.TRANSITION_ACTIVATE)
        if self._bond_timeout_s <= 0:
            return 'active without a bond'
        bond = self._bond = SisterBond(self._node, self._name, self._bond_timeout_s)
        if not self._wait(lambda: bond.formed, self._bond_timeout_s / 2):
            raise BringupError('unable to be reached by bond')
        self._wait(lambda: bool(bond.why_broken), 1.5 * self._bond_timeout_s)
        if bond.why_broken:
            raise BringupError(f'bond broken: {bond.why_broken}')
        return f'active with a bond, heartbeats: {bond.beats > 3}'

    def pause(self) -> str:
        self._transition(Transition.TRANSITION_DEACTIVATE)
        told = ''
        if (bond := self._bond) is not None:
            self._wait(lambda: bool(bond.why_broken), self._bond_timeout_s / 2)
            told = bond.why_broken
            bond.close()
            self._bond = None
        return f'inactive, {told}'

    def broken(self) -> str:
        bond = self._bond
        assert bond is not None
        print('watching', flush=True)
        if not self._wait(lambda: bool(bond.why_broken), 30):
            raise BringupError('the bond holds')
        return bond.why_broken

    def _transition(self, transition: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._call(self._change, request, None).success:
            raise BringupError(f'transition {transition} was refused')
        state = self._call(self._state, GetState.Request(), 2.0).current_state.id
        if state != GOALS[transition]:
            raise BringupError(f'state {state} after transition {transition}')

    def _call(self, client: Any, request: Any, timeout_s: float | None) -> Any:
        if not client.wait_for_service(60.0):
            raise BringupError(f'no service {client.srv_name}')
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=timeout_s or 60.0)
        if not future.done():
            raise BringupError(f'{client.srv_name} does not answer')
        return future.result()

    def _wait(self, until: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not until() and time.monotonic() < deadline:
            rclpy.spin_once(self._node, timeout_sec=0.02)
        return until()


def main(name: str, bond_timeout: str, *steps: str) -> int:
    rclpy.init(args=[])
    try:
        manager = Manager(name, float(bond_timeout))
        for step in steps:
            print(f'{step}: {getattr(manager, step)()}', flush=True)
    except BringupError as error:
        print(f'failed: {error}', flush=True)
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
