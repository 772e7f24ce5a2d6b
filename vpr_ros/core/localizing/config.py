"""Every knob of the localizer."""

from dataclasses import dataclass

from vpr_ros.core.settings import knob


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizerConfig:
    """How an image becomes a pose."""

    candidates: int = knob(25, 'Places retrieved for each image.', low=1, high=1000)
    match_cells: bool = knob(
        True,
        'Match the cells of each image with those of the retrieved places, if the map has some.',
    )
    belief: bool = knob(
        True,
        'Believe the drive so far; if false, each image stands alone, and the similarity and '
        'agreement settings decide.',
    )
    max_false_fix_rate: float = knob(
        0.01,
        'There is a fix, by landmarks too, only where the probability of its being wrong is at '
        'most this; needs belief.',
        low=0.0001,
        high=0.5,
    )
    max_speed: float = knob(
        0.0,
        'Bound on the speed where there is no odometry; 0 takes twice the mapping speed.',
        unit='m/s',
        low=0.0,
        high=100.0,
        at_configure=True,
    )
    min_similarity: float = knob(
        0.5,
        'Without belief: below this cosine similarity of the best place there is no fix.',
        low=-1.0,
        high=1.0,
    )
    agreement_radius: float = knob(
        5.0, 'Candidates within this distance are the same place.', unit='m', low=0.01, high=1000.0
    )
    agreement_heading: float = knob(
        60.0, 'Candidates within this angle look the same way.', unit='deg', low=1.0, high=180.0
    )
    min_agreement: float = knob(
        0.6,
        "Without belief: share of the candidates' weight, or of the landmarks found, that must "
        'agree, else there is no fix.',
        low=0.0,
        high=1.0,
    )
    similarity_scale: float = knob(
        0.02,
        'Without belief: fall of similarity by which the weight of a candidate falls to 1/e.',
        low=0.001,
        high=1.0,
    )
    match_power: float = knob(
        4.0,
        'Without belief: the weight of a candidate whose cells are matched is this power of its '
        'similarity times its match.',
        low=0.1,
        high=100.0,
    )
    use_landmarks: bool = knob(
        True, 'Take the pose from the landmarks of the best places, where the map has some.'
    )
    verified_places: int = knob(
        5, 'Best places whose landmarks are matched with each image.', low=1, high=100
    )
    min_inliers: int = knob(
        12,
        'Landmarks of a place that must agree on a pose, else it is not used.',
        low=4,
        high=1000,
    )
    min_inlier_ratio: float = knob(
        0.4,
        'Share of the matched landmarks that must agree on a pose; of XFeat at least 0.55.',
        low=0.0,
        high=1.0,
    )
