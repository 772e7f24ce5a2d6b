"""The thread that owns the session: it takes events from the mailbox and hands on the answers.

Nothing ends it but `stop`: an error of one event or of one answer is reported, and the next one
has its turn.
"""

from collections.abc import Callable
from threading import Thread

from vpr_ros.session.answers import Answer
from vpr_ros.session.mailbox import Letter, Mailbox
from vpr_ros.session.session import Session


class Worker:
    """A running session."""

    def __init__(
        self,
        session: Session,
        mailbox: Mailbox,
        *,
        publish: Callable[[list[Answer]], None],
        report: Callable[[Exception], None],
    ) -> None:
        """Start to work; publish: the answers to one event; report: an error in either."""
        self._session = session
        self._mailbox = mailbox
        self._publish = publish
        self._report = report
        mailbox.open()
        self._thread = Thread(target=self._run, name='session', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the event at work and end."""
        self._mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        while (letter := self._mailbox.take()) is not None:
            try:
                self._work(letter)
            except Exception as error:
                self._report(error)
                letter.answers.set_exception(error)

    def _work(self, letter: Letter) -> None:
        answers = self._session.handle(letter.event)
        self._publish(answers)
        letter.answers.set_result(answers)  # a request is answered after all that came before it
