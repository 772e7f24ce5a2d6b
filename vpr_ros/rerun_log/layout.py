"""What a log's entities are called, and how the viewer shows them when it opens the file."""

from typing import Any

import numpy as np
import rerun.blueprint as rrb
from numpy.typing import NDArray

TIMELINE = 'image'
"""The stamps of the images."""

MAP = 'map'
PLACES = f'{MAP}/places'
TRUE_PATH = f'{MAP}/true_path'
CANDIDATES = f'{MAP}/candidates'
FIXES = f'{MAP}/fixes'
ROBOT = f'{MAP}/robot'
EXTENT = f'{ROBOT}/two_sigma'
SEEN = f'{MAP}/landmarks/seen'
NOT_SEEN = f'{MAP}/landmarks/not_seen'
ANSWER = 'answer'
EVENTS = 'events'
STATE = 'drive/state'
SERIES = {
    'drive/probability': ('probability', (46, 160, 67)),
    'drive/belief': ('belief in the best place', (25, 102, 255)),
    'drive/similarity': ('similarity of the best match', (150, 150, 150)),
}
"""Numbers from 0 to 1 over time: their entity, what the legend says, and their colour (RGB)."""

MATCHES = ('matches/first', 'matches/second', 'matches/third')


_EYE_NEAREST_M, _TILT = 5.0, 0.3
_ASPECT = 1.6  # of the map's view, a little less than it is on most screens


def camera(number: int) -> str:
    """The entity of a camera's images."""
    return f'camera/{number}'


def blueprint(cameras: int, places_m: NDArray[np.float64]) -> Any:
    """The layout: what the cameras see beside the map, the answer and its numbers below.

    places_m: [N, 3], all of which the map's view shows at first.
    """
    seen = [
        rrb.Spatial2DView(origin=camera(number), name=f'camera {number}')
        for number in range(cameras)
    ]
    matches = [
        rrb.Spatial2DView(origin=entity, name=f'{entity.rpartition("/")[2]} match')
        for entity in MATCHES
    ]
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Vertical(
                rrb.Grid(*seen) if seen[1:] else seen[0],
                rrb.Horizontal(*matches),
                rrb.Horizontal(
                    rrb.TextDocumentView(origin=ANSWER, name='answer'),
                    rrb.TextLogView(origin=EVENTS, name='events'),
                ),
                row_shares=[4, 2, 2],
            ),
            rrb.Vertical(
                _map_view(places_m),
                rrb.TimeSeriesView(
                    name='how sure',
                    contents=[f'+ {entity}' for entity in SERIES],
                    axis_y=rrb.ScalarAxis(range=(-0.02, 1.02)),
                ),
                rrb.StateTimelineView(origin=STATE, name='state'),
                row_shares=[5, 2, 1],
            ),
            column_shares=[2, 3],
        ),
        rrb.TimePanel(timeline=TIMELINE, state='collapsed'),
        collapse_panels=True,
    )


def _map_view(places_m: NDArray[np.float64]) -> Any:
    """The map from above; of the fixes all until now, of the rest what is new."""
    low, high = places_m.min(axis=0), places_m.max(axis=0)
    centre, (wide_m, deep_m, _) = (low + high) / 2, high - low
    away_m = _EYE_NEAREST_M + max(deep_m, wide_m / _ASPECT)
    until_now = rrb.VisibleTimeRanges(
        timeline=TIMELINE,
        start=rrb.TimeRangeBoundary.infinite(),
        end=rrb.TimeRangeBoundary.cursor_relative(),
    )
    return rrb.Spatial3DView(
        origin=MAP,
        name='map',
        background=[255, 255, 255],
        overrides={FIXES: until_now},
        line_grid=rrb.LineGrid3D(visible=False),
        eye_controls=rrb.EyeControls3D(
            position=centre + away_m * np.array([0.0, -_TILT, 1.0]), look_target=centre
        ),
    )
