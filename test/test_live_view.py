"""What a person watches: the debug image, and layouts that name topics that exist."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from worlds import picture, write_pictured_map

from vpr_ros.report.picture import MOMENTS, Moment, Verdict, glance

CONFIG = Path(__file__).resolve().parents[1] / 'config'
GREEN, RED = (46, 160, 67), (207, 84, 60)
OTHERS = {'/image', '/diagnostics', '/initialpose'}  # not below the node's own name


def drawn(*, is_fix: bool = True, history: list[Moment] | None = None, **texts: str) -> np.ndarray:
    given = {'headline': 'fix', 'details': '', 'match_title': 'map'} | texts
    verdict = Verdict(**given, is_fix=is_fix)
    return glance(picture(1), picture(2), verdict, history=history or [], height_px=240)


def pixels(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (image == colour).all(axis=-1)


def test_query_and_match_stand_side_by_side_under_their_titles() -> None:
    shown = drawn()
    assert shown.shape[1] == 2 * 320 + 4 and shown.dtype == np.uint8
    left, right = shown[60:240:2, :320:2], shown[60:240:2, 324::2]
    assert np.abs(left.astype(int) - picture(1)[30:120]).mean() < 12
    assert np.abs(right.astype(int) - picture(2)[30:120]).mean() < 12


@pytest.mark.parametrize(('is_fix', 'colour', 'other'), [(True, GREEN, RED), (False, RED, GREEN)])
def test_a_fix_is_green_and_none_is_red(
    is_fix: bool, colour: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    shown = drawn(is_fix=is_fix)[240:]
    assert pixels(shown, colour).sum() > 10_000 and pixels(shown, other).sum() == 0


def test_the_chart_is_as_high_as_the_answers_were_sure_and_newest_at_the_right() -> None:
    chart = drawn(history=[Moment(0.25, False), Moment(0.5, True), Moment(1.0, True)])[-48:]
    good, bad = pixels(chart, GREEN).sum(axis=0), pixels(chart, RED).sum(axis=0)
    assert good.max() == 48 and bad.max() == 12
    starts = [int(np.flatnonzero(column)[0]) for column in (bad, good == 24, good == 48)]
    assert starts == sorted(starts) and starts[0] > 0.95 * chart.shape[1]
    full = drawn(history=[Moment(1.0, True)] * (MOMENTS + 30))[-48:]
    assert pixels(full, GREEN)[-1].mean() > 0.7


def test_long_words_are_shrunk_and_no_match_is_grey() -> None:
    assert drawn(headline='w' * 300, match_title='m' * 300).shape == drawn().shape
    verdict = Verdict(headline='no fix', details='', match_title='map', is_fix=False)
    shown = glance(picture(1), None, verdict, height_px=64)
    assert (shown[10:64, -40:] == 64).all()


def foxglove_topics(config: Any) -> set[str]:
    """Every topic that a Foxglove layout names, however deep."""
    if isinstance(config, dict):
        inner = set().union(*(foxglove_topics(value) for value in config.values()))
        return inner | {key for key in config if key.startswith('/')}
    if isinstance(config, list):
        return set().union(*(foxglove_topics(value) for value in config))
    is_path = isinstance(config, str) and config.startswith('/')
    return {config.split('.')[0]} if is_path else set()


def rviz_topics(config: Any) -> set[str]:
    """Every topic that an RViz layout names."""
    if isinstance(config, dict):
        own = {config['Topic']['Value']} if 'Topic' in config else set()
        return own.union(*(rviz_topics(value) for value in config.values()))
    if isinstance(config, list):
        return set().union(*(rviz_topics(value) for value in config))
    return set()


def panels(layout: Any) -> list[str]:
    """The panels of a Foxglove layout's tree, left to right and top to bottom."""
    if isinstance(layout, str):
        return [layout]
    assert layout['direction'] in ('row', 'column') and 0 < layout['splitPercentage'] < 100
    return panels(layout['first']) + panels(layout['second'])


def test_the_foxglove_layout_shows_every_panel_that_it_describes_once() -> None:
    layout = json.loads((CONFIG / 'foxglove' / 'localize.json').read_text())
    shown = panels(layout['layout'])
    assert sorted(shown) == sorted(layout['configById'])
    kinds = {name.split('!')[0] for name in shown}
    assert kinds == {'3D', 'Image', 'Plot', 'DiagnosticSummary'}


def test_the_layouts_name_topics_that_the_node_has(tmp_path: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    from ros_world import domain, running

    from vpr_ros.node.conversions import PlaceMatchArray

    foxglove = foxglove_topics(json.loads((CONFIG / 'foxglove' / 'localize.json').read_text()))
    rviz = rviz_topics(yaml.safe_load((CONFIG / 'rviz' / 'localize.rviz').read_text()))
    with (
        domain() as (number, peer),
        running(number, **write_pictured_map(tmp_path, 3)),
    ):
        expected = (foxglove | rviz) - (
            set() if PlaceMatchArray is not None else {'/localize/matches'}
        )

        def missing() -> set[str]:
            return expected - {name for name, _ in peer.node.get_topic_names_and_types()}

        peer.wait(lambda: not missing(), f'topics that only a layout names: {missing()}')
    shown = {'image', 'debug_image', 'places', 'markers', 'pose', 'candidates'}
    for topics in (foxglove, rviz):
        assert {name.rpartition('/')[2] for name in topics} >= shown
    assert '/localize/matches' in foxglove
    assert {name for name in foxglove | rviz if not name.startswith('/localize/')} <= OTHERS
