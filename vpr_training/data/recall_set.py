"""What every evaluation set offers, whatever its layout.

A set has database images, queries, and which answers are right. Evaluation sees only this form, so
a new layout is one module with a `recognizes` and a `read` (see `layouts`).
"""

from dataclasses import dataclass
from pathlib import Path

from vpr_ros.core.types import Rows
from vpr_training.basics.errors import DatasetError


@dataclass(frozen=True, slots=True)
class RecallSet:
    """Images and truth of one evaluation set.

    In a single sequence the queries are frames of the database itself; `earlier_than` then keeps a
    frame from being answered with itself or with its future.
    """

    name: str
    database: tuple[Path, ...]  # N images
    queries: tuple[Path, ...]  # Q images
    positives: tuple[
        Rows, ...
    ]  # Q arrays of database rows, sorted; empty: the query has no true match
    truth: str  # what makes an answer right, for people
    left_out: tuple[str, ...] = ()  # what was left out and why, for people
    earlier_than: Rows | None = None  # [Q]: a query may only match database rows before this one

    def require_matches(self, option: str) -> None:
        """Raise DatasetError where no query has a true match: any model finds 0 of them.

        option: that names the set.
        """
        if not any(map(len, self.positives)):
            raise DatasetError(
                f'{option} {self.name}: none of its queries has a true match ({self.truth}), so '
                'it gives no recall; choose another set'
            )
