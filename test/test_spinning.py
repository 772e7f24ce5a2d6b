"""A signal ends a process cleanly, whenever it comes."""

import pytest

rclpy = pytest.importorskip('rclpy', reason='needs ROS 2, from apt or from wheels (`make setup`)')
from rclpy.executors import ExternalShutdownException

from vpr_ros.node.spinning import until_shutdown


@pytest.mark.parametrize('error', [KeyboardInterrupt, ExternalShutdownException])
def test_a_signal_is_no_error(error: type[BaseException]) -> None:
    with until_shutdown():
        raise error


def test_an_error_after_the_shutdown_is_the_shutdown_and_one_before_is_an_error() -> None:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=59)
    with pytest.raises(RuntimeError, match='broken'), until_shutdown(context):
        raise RuntimeError('broken')
    rclpy.shutdown(context=context)
    with until_shutdown(context):
        raise RuntimeError('the given context is not valid')
