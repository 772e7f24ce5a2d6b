"""The page of the matrix of ordered pairs."""

from collections.abc import Sequence

import numpy as np

from vpr_ros.report.charts import Chart, Series
from vpr_ros.report.page import Facts, Figure, Headline, Heat, Page, Section, Shade, Table, Text

NONE = '–'
LEGEND = (
    'A pair is a drive that was mapped (row) and a drive that was localized on it (column). A '
    'frame is answerable where a place of the map lies within the radius and looks the same way. '
    'A fix is false where it is farther than the radius from the truth or looks another way; on '
    'the map of another place every fix is false, and the rate is that of the frames.'
)


def pairs_page(whole: dict, *, command: str) -> Page:
    """The page of what pairs.json holds."""
    rows = whole['pairs']
    sections: list[Section] = [
        _headline(whole),
        Text('What this is', [LEGEND]),
        *_heats(rows, odometry=False),
        *_heats(rows, odometry=True),
        *_foreign('Drives on maps of other places', 'foreign', rows),
        *_foreign('Drives on maps of towns with the same roads', 'twin', rows),
        _groups(whole['groups']),
        *_kidnappings(whole.get('kidnapping')),
        *_reliability(whole['reliability']['maps of their own place']),
        _list([row for row in rows if row['group'] != 'foreign' or row['fixes']]),
        Facts(
            'How to repeat it',
            [
                ('model', f'{whole["model"]}, sha256 {whole["model_sha256"]}'),
                ('target', f'at most {whole["target"]:.1%} of the fixes are false'),
                ('intervals of false fixes', '95 %, Clopper and Pearson: fixes as independent'),
                ('other intervals of a pair', '95 %, circular block bootstrap of the drive'),
                ('intervals of groups', '95 %, bootstrap over pairs'),
                ('ellipse', 'chi-square with the directions in which map and drive vary'),
            ],
            [command],
        ),
    ]
    said = (
        f'{len(rows)} ordered pairs, {whole["groups"]["all"]["frames"]} frames, {whole["model"]}'
    )
    return Page('Every drive on every map', said, sections)


def _headline(whole: dict) -> Headline:
    every, own = whole['groups']['all'], whole['groups']['maps of their own place']
    rate, inside = every['false_rate'], own['inside_ellipse']
    held = every['pairs_within_interval']
    return Headline(
        [
            Figure(
                'target held',
                f'{held} of {every["pairs"]}',
                f'pairs whose interval reaches down to {whole["target"]:.0%}; on maps of their '
                f'own place {own["pairs_within_interval"]} of {own["pairs"]}; twin towns apart',
                'good' if held >= 0.95 * every['pairs'] else 'bad',
            ),
            Figure('false fixes', percent(rate['share']), interval(rate['interval'])),
            Figure(
                'answered',
                percent(own['answered_mean']),
                'of the answerable frames, mean of the pairs on maps of their own place',
            ),
            Figure(
                'calibration error',
                f'{own["calibration_error"]:.3f}',
                'over the frames of drives on maps of their own place',
            ),
            Figure('inside the ellipse', percent(inside['share']), interval(inside['interval'])),
        ]
    )


def _heats(rows: Sequence[dict], *, odometry: bool) -> list[Heat]:
    """For each place with several drives: false fixes and answers of each ordered pair."""
    own = [row for row in rows if row['group'] in ('rendered', 'real')]
    own = [row for row in own if row['odometry'] is odometry]
    heats = []
    for place in dict.fromkeys(row['map_place'] for row in own):
        part = [row for row in own if row['map_place'] == place]
        if len(part) > 2:
            what = f'{place}{", with odometry" if odometry else ""}'
            heats.append(_heat(f'False fixes: {what}', part, _false))
            heats.append(_heat(f'Answered of the answerable: {what}', part, _answered))
    small = [row for row in own if sum(row['map_place'] == o['map_place'] for o in own) <= 2]
    if small:
        columns = ['false fixes', 'answered']
        lines = [(row['pair'], [_false(row), _answered(row)]) for row in small]
        heats.append(Heat('Places with two drives', 'map > drive', columns, lines))
    return heats


def _heat(title: str, rows: Sequence[dict], shade: object) -> Heat:
    names = list(dict.fromkeys(row['map_condition'] for row in rows))
    at = {(row['map_condition'], row['drive_condition']): row for row in rows}
    empty = Shade('', float('nan'))
    lines = [
        (name, [shade(at[name, other]) if (name, other) in at else empty for other in names])
        for name in names
    ]
    return Heat(title, 'map \\ drive', names, lines)


def _false(row: dict) -> Shade:
    if not row['fixes']:
        return Shade(NONE, float('nan'), title='no fix')
    rate, title = row['false_rate'], f'95 %: {interval(row["false_rate_interval"])}'
    said = f'{row["false_fixes"]}/{row["fixes"]}'
    if not row['false_fixes']:
        return Shade(said, 0.35, 'good', title)
    return Shade(
        said, min(0.3 + 10 * rate, 1.0), 'bad' if not row['within_interval'] else 'silent', title
    )


def _answered(row: dict) -> Shade:
    share = row['answered']
    if share is None:
        return Shade(NONE, float('nan'), title='nothing to answer')
    return Shade(f'{share:.0%}', share, 's0', f'95 %: {interval(row["answered_interval"])}')


def _foreign(title: str, group: str, rows: Sequence[dict]) -> list[Table]:
    foreign = [row for row in rows if row['group'] == group]
    maps = list(dict.fromkeys(row['map_place'] for row in foreign))
    lines = []
    for name in maps:
        part = [row for row in foreign if row['map_place'] == name]
        fixes, frames = (sum(row[key] for row in part) for key in ('fixes', 'frames'))
        worst = max(part, key=lambda row: row['fixes'])
        named = worst['drive_place'] + '/' + worst['drive_condition'] if worst['fixes'] else NONE
        lines.append([name, str(len(part)), str(frames), str(fixes), named])
    header = ['map', 'drives', 'frames', 'fixes, all false', 'most of them from']
    return [Table(title, header, lines)] if lines else []


def _groups(groups: dict) -> Table:
    header = [
        '', 'pairs', 'answerable', 'false fixes', 'false share', 'target held', 'answered',
        'error m', 'first fix', 'ECE', 'inside',
    ]  # fmt: skip
    lines = []
    for name, part in groups.items():
        rate, inside = part['false_rate'], part['inside_ellipse']
        lines.append(
            [
                name,
                str(part['pairs']),
                f'{part["answerable"]} of {part["frames"]}',
                f'{part["false_fixes"]} of {part["fixes"]}',
                f'{percent(rate["share"])}\n{interval(rate["interval"])}',
                f'{part["pairs_within_interval"]}/{part["pairs"]}\n{part["pairs_at_most_target"]}',
                percent(part['answered_mean']),
                number(part['error_m']),
                NONE
                if part['first_fix_frames'] is None
                else f'frame {part["first_fix_frames"] + 1:g}',
                f'{part["calibration_error"]:.3f}',
                f'{percent(inside["share"])}\n{interval(inside["interval"])}',
            ]
        )
    note = (
        'Second lines are 95 % intervals over pairs and stretches in them. Below the pairs whose '
        'interval reaches down to the target stand those that keep the target itself. Answered, '
        'error and first fix, which is counted in answerable frames, are means and medians over '
        'the pairs.'
    )
    return Table('By condition', header, lines, note=note)


def _kidnappings(found: dict | None) -> list[Section]:
    if not found or not found['groups']:
        return []
    header = [
        '', 'trials', 'LOST in 5', 'right fix in 15', 'found in 15', 'nothing wrong', 'all three',
        'unsure after', 'LOST after', 'found after', 'wrong fixes',
    ]  # fmt: skip
    lines = []
    for name, part in found['groups'].items():
        shares = [part[kind] for kind in ('lost', 'fixed', 'found', 'no_wrong', 'all')]
        frames = [part[f'{kind}_frames'] for kind in ('unsure', 'lost', 'found')]
        lines.append(
            [
                name,
                str(part['trials']),
                *(f'{percent(share["share"])}\n{interval(share["interval"])}' for share in shares),
                *(NONE if frame is None else f'{frame:g}' for frame in frames),
                str(part['wrong_fixes']),
            ]
        )
    note = (
        'While LOCALIZED, the robot is carried to another place of the same map. Frames are '
        'medians, counted from 1 after that; wrong fixes are those before it is found again.'
    )
    return [Table('Carried away', header, lines, note=note)]


def _reliability(trust: dict) -> list[Chart]:
    values = {
        key: np.array([np.nan if value is None else value for value in trust[key]], dtype=float)
        for key in ('promised', 'true', 'count')
    }
    diagonal = np.array([0.0, 1.0])
    centres = (np.arange(len(values['count'])) + 0.5) / len(values['count'])
    return [
        Chart(
            'Reliability over all pairs',
            'promised probability',
            'share that was right',
            [
                Series('as promised', diagonal, diagonal, 'plain'),
                Series('measured', values['promised'], values['true'], 's0'),
            ],
            x_range=(0, 1),
            y_range=(0, 1),
        ),
        Chart(
            'Frames by promised probability',
            'promised probability',
            'frames',
            [Series('', centres, np.maximum(values['count'], 0.5), 's0', 'step')],
            x_range=(0, 1),
            log_y=True,
        ),
    ]


def _list(rows: Sequence[dict]) -> Table:
    header = [
        'map > drive', 'answerable', 'fixes', 'false', '95 %', 'answered', 'error m',
        'first fix s', 'ECE', 'inside',
    ]  # fmt: skip
    return Table(
        'All pairs',
        header,
        [
            [
                row['pair'],
                f'{row["answerable"]} of {row["frames"]}',
                str(row['fixes']),
                str(row['false_fixes']),
                interval(row['false_rate_interval']),
                f'{percent(row["answered"])}\n{interval(row["answered_interval"])}',
                number(row['error_m']),
                number(row['first_fix_s']),
                f'{row["calibration_error"]:.3f}',
                percent(row['inside_ellipse']),
            ]
            for row in rows
        ],
        note='Pairs of different places without any fix are not listed; pairs.json has them.',
    )


def percent(share: float | None) -> str:
    return NONE if share is None else f'{share:.1%}'


def interval(ends: Sequence[float | None]) -> str:
    return NONE if ends[0] is None else f'{ends[0]:.1%}–{ends[1]:.1%}'


def number(value: float | None) -> str:
    return NONE if value is None else f'{value:.2f}'
