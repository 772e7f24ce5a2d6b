"""Events reach the session in their order; images are replaced by newer ones."""

import threading
from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
from session_world import image_at, initial_pose, odometry_at, session_on, street

from vpr_ros.session.answers import Answer, Localized, Noted, Replied
from vpr_ros.session.events import ImageCame, ResetAsked, TriggerAsked
from vpr_ros.session.mailbox import _MOST_EVENTS, Mailbox, Pace
from vpr_ros.session.session import Session
from vpr_ros.session.worker import Worker


def taken(mailbox: Mailbox, count: int) -> list:
    return [mailbox.take().event for _ in range(count)]


def test_events_come_in_their_order_and_before_any_image() -> None:
    mailbox = Mailbox()
    events = [odometry_at(0, 1), image_at(1, 1), initial_pose(0), odometry_at(1, 2)]
    for event in events:
        mailbox.put(event)
    assert taken(mailbox, 4) == [events[0], events[2], events[3], events[1]]


def test_only_the_newest_image_of_a_camera_waits_and_no_camera_starves() -> None:
    mailbox = Mailbox()
    first = [image_at(1, second) for second in range(5)]
    other = image_at(2, 0, camera=1)
    mailbox.put(first[0])
    mailbox.put(other)
    for image in first[1:]:
        mailbox.put(image)
    assert taken(mailbox, 2) == [first[-1], other]
    assert (mailbox.images, mailbox.dropped) == (6, 4)


def test_the_pace_of_a_camera_is_its_own_and_outlasts_a_pause() -> None:
    mailbox = Mailbox()
    for came_s in (10.0, 15.0, 20.0, 25.0):
        mailbox.put(replace(image_at(1, 1), came_s=came_s))
        mailbox.put(replace(image_at(1, 1, camera=1), came_s=came_s + 0.1))
    assert mailbox.pace(0) == Pace(25.0, 5.0) and mailbox.pace(2) is None
    mailbox.put(replace(image_at(1, 1), came_s=999.0))
    assert mailbox.pace(0) == Pace(999.0, 5.0)
    mailbox.put(replace(image_at(1, 1, camera=2), came_s=7.0))
    assert mailbox.pace(2) == Pace(7.0, 0.0)


@pytest.mark.parametrize('event', [ResetAsked(), TriggerAsked()])
def test_an_image_from_before_a_reset_or_trigger_is_not_localized_after_it(event: object) -> None:
    mailbox = Mailbox()
    mailbox.put(image_at(1, 1))
    mailbox.put(event)
    newer = image_at(2, 2)
    mailbox.put(newer)
    assert taken(mailbox, 2) == [event, newer] and mailbox.dropped == 1


def test_waiting_events_are_bounded_and_odometry_goes_first() -> None:
    mailbox = Mailbox()
    asked = mailbox.put(ResetAsked())
    for row in range(_MOST_EVENTS + 50):
        mailbox.put(odometry_at(row, row))
    assert len(mailbox._events) == _MOST_EVENTS and not asked.cancelled()
    assert isinstance(mailbox.take().event, ResetAsked)
    assert mailbox.take().event.stamp_ns == 51 * 10**9


def test_whoever_left_an_event_that_is_dropped_is_told() -> None:
    mailbox = Mailbox()
    older, newer = (mailbox.put(image_at(1, second)) for second in (1, 2))
    assert older.cancelled() and not newer.cancelled()
    asked = mailbox.put(ResetAsked())  # outdates the image
    assert newer.cancelled() and mailbox.dropped == 2
    odometry = [mailbox.put(odometry_at(0, row)) for row in range(_MOST_EVENTS)]
    assert odometry[0].cancelled() and not odometry[1].cancelled() and not asked.cancelled()


def test_of_too_many_requests_the_oldest_is_dropped_and_told() -> None:
    mailbox = Mailbox()
    asked = [mailbox.put(initial_pose(row)) for row in range(_MOST_EVENTS + 1)]
    assert asked[0].cancelled() and not any(each.cancelled() for each in asked[1:])
    assert len(mailbox._events) == _MOST_EVENTS


def test_a_closed_mailbox_drops_images_and_counts_them() -> None:
    mailbox = Mailbox()
    waiting = mailbox.put(image_at(1, 1))
    mailbox.close()
    late = mailbox.put(image_at(1, 2))
    assert waiting.cancelled() and late.cancelled()
    assert (mailbox.images, mailbox.dropped) == (2, 2)
    mailbox.open()
    event = odometry_at(0, 3)
    mailbox.put(event)
    mailbox.put(image_at(1, 4, camera=1))
    assert taken(mailbox, 1) == [event] and mailbox.take().event.camera == 1


def test_a_closed_mailbox_tells_those_who_wait_and_opens_again() -> None:
    mailbox = Mailbox()
    waiting = mailbox.put(ResetAsked())
    mailbox.put(image_at(1, 1))
    mailbox.close()
    with pytest.raises(CancelledError):
        waiting.result(1)
    assert mailbox.take() is None and mailbox.put(ResetAsked()).cancelled()
    counted = mailbox.images
    mailbox.open()
    mailbox.put(image_at(1, 1))
    assert isinstance(mailbox.take().event, ImageCame) and mailbox.images == counted + 1


class Slow:
    """A describer that waits in the middle of each frame until it is told to go on."""

    def __init__(self, inner: object) -> None:
        self.at_once, self.model = inner.at_once, inner.model
        self._inner = inner
        self.began, self.goes_on = threading.Event(), threading.Event()

    def describe(self, images: list) -> object:
        self.began.set()
        assert self.goes_on.wait(30)
        return self._inner.describe(images)

    def describe_with_cells(self, images: list) -> object:
        return self.describe(images), None


def in_a_frame(session: Session) -> tuple[Mailbox, Slow, Worker, list]:
    """A worker of a session in the middle of a frame, and what it has published."""
    slow = Slow(session.localizer.describer)
    session.localizer.describer = slow
    mailbox, answers = Mailbox(), []
    worker = Worker(session, mailbox, publish=answers.extend, report=answers.append)
    mailbox.put(image_at(10, 100))
    assert slow.began.wait(30)
    return mailbox, slow, worker, answers


@pytest.fixture
def at_work(tmp_path):
    """The mailbox of a worker in the middle of a frame, its describer, and its answers."""
    session = session_on(street(tmp_path / 'map'), belief=False, min_similarity=-1.0)
    mailbox, slow, worker, answers = in_a_frame(session)
    yield mailbox, slow, answers
    slow.goes_on.set()
    worker.stop()


def test_an_initial_pose_that_comes_during_a_frame_counts_for_the_next_one(at_work) -> None:
    mailbox, slow, answers = at_work
    mailbox.put(initial_pose(100.0))
    slow.goes_on.set()
    mailbox.put(image_at(10, 101)).result(30)
    found = [answer.located.outcome for answer in answers if isinstance(answer, Localized)]
    assert found[0].pose[0] == pytest.approx(20, abs=1) and found[1].pose[0] > 90


def test_no_pose_of_an_image_from_before_a_reset_comes_after_its_reply(at_work) -> None:
    mailbox, slow, answers = at_work
    mailbox.put(image_at(11, 101))
    asked = mailbox.put(ResetAsked())
    slow.goes_on.set()
    asked.result(30)
    at_reply = list(answers)
    mailbox.put(odometry_at(0, 101)).result(30)
    assert isinstance(at_reply[-1], Replied)
    localized = [answer for answer in answers if isinstance(answer, Localized)]
    assert len(localized) == 1 and answers.index(localized[0]) < len(at_reply) - 1


def test_a_worker_that_is_stopped_finishes_its_event_first(tmp_path) -> None:
    session = session_on(street(tmp_path / 'map'), belief=False)
    mailbox, slow, worker, answers = in_a_frame(session)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    stopping.join(0.1)
    assert stopping.is_alive() and not answers
    slow.goes_on.set()
    stopping.join(30)
    assert isinstance(answers[0], Localized) and not stopping.is_alive()
    assert mailbox.put(image_at(10, 101)).cancelled()
    worker = Worker(session, mailbox, publish=answers.extend, report=answers.append)
    mailbox.put(image_at(10, 102)).result(30)  # the next worker opens the mailbox again
    worker.stop()


def test_an_error_in_one_event_or_answer_ends_nothing(tmp_path) -> None:
    session = session_on(street(tmp_path / 'map'), belief=False)
    mailbox, errors, answers = Mailbox(), [], []

    def publish(found: list[Answer]) -> None:
        if any(isinstance(answer, Noted) for answer in found):
            raise RuntimeError('a publisher fails')
        answers.extend(found)

    worker = Worker(session, mailbox, publish=publish, report=errors.append)
    with pytest.raises(KeyError):
        mailbox.put('no event').result(30)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        mailbox.put(initial_pose(10.0)).result(30)
    mailbox.put(image_at(10, 100)).result(30)
    worker.stop()
    assert len(errors) == 2 and isinstance(answers[0], Localized)
