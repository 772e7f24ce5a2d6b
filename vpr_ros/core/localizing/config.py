"""Every knob of the localizer."""

from dataclasses import dataclass

from vpr_ros.core.settings import knob


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizerConfig:
    """How an image becomes a pose."""

    candidates: int = knob(25, 'Number of places retrieved for each image.', low=1, high=1000)
    match_cells: bool = knob(
        True,
        'Compare the cells of each image with those of the retrieved places, if the map has '
        'cells.',
    )
    virtual_camera: bool = knob(
        True,
        'Give the images of a camera with another lens the view of the mapping camera. Needs the '
        'calibrations of both, so a map with landmarks and camera_info.',
    )
    belief: bool = knob(
        True,
        'Use the whole drive so far to decide where the robot is. If false, each image is judged '
        'alone, by min_similarity and min_agreement.',
    )
    max_false_fix_rate: float = knob(
        0.01,
        'Maximum share of published fixes that may be wrong. The node publishes a fix only if it '
        'is sure enough for this. Used only if belief is true.',
        low=0.0001,
        high=0.5,
    )
    max_speed: float = knob(
        0.0,
        'Maximum speed of the robot, used without odometry. 0 means twice the mapping speed.',
        unit='m/s',
        low=0.0,
        high=100.0,
        at_configure=True,
    )
    min_similarity: float = knob(
        0.5,
        'Minimum cosine similarity of the best place for a fix. Used only if belief is false.',
        low=-1.0,
        high=1.0,
    )
    agreement_radius: float = knob(
        5.0,
        'Candidates within this distance count as the same place.',
        unit='m',
        low=0.01,
        high=1000.0,
    )
    agreement_heading: float = knob(
        60.0,
        'Candidates within this angle count as looking the same way.',
        unit='deg',
        low=1.0,
        high=180.0,
    )
    min_agreement: float = knob(
        0.6,
        "Minimum share of the candidates' weight, or of the matched landmarks, that must agree on "
        'one position for a fix. Used only if belief is false.',
        low=0.0,
        high=1.0,
    )
    similarity_scale: float = knob(
        0.02,
        'Loss of similarity at which the weight of a candidate falls to 1/e. Used only if belief '
        'is false.',
        low=0.001,
        high=1.0,
    )
    match_power: float = knob(
        4.0,
        'Exponent in the weight of a candidate with matched cells: (similarity x match) to this '
        'power. Used only if belief is false.',
        low=0.1,
        high=100.0,
    )
    use_landmarks: bool = knob(
        True, 'Compute the pose from the landmarks of the best places, if the map has landmarks.'
    )
    verified_places: int = knob(
        5,
        'Number of best places whose landmarks are matched. Of landmarks by cells, those of the '
        'best two are matched at most.',
        low=1,
        high=100,
    )
    min_inliers: int = knob(
        12,
        'Minimum number of landmarks of a place that must agree on a pose.',
        low=4,
        high=1000,
    )
    min_inlier_ratio: float = knob(
        0.4,
        'Minimum share of the matched landmarks that must agree on a pose. With XFeat, at least '
        '0.55 is used.',
        low=0.0,
        high=1.0,
    )
