"""Each loss and miner against a naive loop over a batch."""

import math

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
pytest.importorskip('pytorch_metric_learning', reason='make setup-training')
from vpr_training.basics.errors import TrainingError
from vpr_training.learning.config import LossConfig
from vpr_training.learning.losses import PlaceLoss, mined_share

LABELS = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]


def a_batch(seed: int = 0) -> 'tuple[torch.Tensor, torch.Tensor]':
    """Unit descriptors of places that are alike but not well apart, float64 [10, 6]."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((4, 6))
    rows = centres[LABELS] + 0.9 * rng.standard_normal((len(LABELS), 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return torch.from_numpy(rows), torch.tensor(LABELS)


def cosines(rows: 'torch.Tensor') -> list[list[float]]:
    return [[float(sum(x * y for x, y in zip(a, b))) for b in rows] for a in rows]


def all_pairs() -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Ordered positive and negative pairs of the batch."""
    n = range(len(LABELS))
    positive = {(i, j) for i in n for j in n if i != j and LABELS[i] == LABELS[j]}
    negative = {(i, j) for i in n for j in n if LABELS[i] != LABELS[j]}
    return positive, negative


def mined_by_multi_similarity(
    s: list[list[float]], epsilon: float
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Wang et al. 2019, eq. 7 and 8."""
    positive, negative = all_pairs()
    hardest_negative = {i: max(s[i][j] for k, j in negative if k == i) for i, _ in negative}
    easiest = {i: min(s[i][j] for k, j in positive if k == i) for i, _ in positive}
    return (
        {(i, j) for i, j in positive if s[i][j] < hardest_negative[i] + epsilon},
        {(i, j) for i, j in negative if s[i][j] > easiest[i] - epsilon},
    )


def multi_similarity(
    s: list[list[float]],
    positive: set[tuple[int, int]],
    negative: set[tuple[int, int]],
    *,
    alpha: float,
    beta: float,
    base: float,
) -> float:
    """Wang et al. 2019, eq. 15."""
    total = 0.0
    for i in range(len(s)):
        near = sum(math.exp(-alpha * (s[i][j] - base)) for k, j in positive if k == i)
        far = sum(math.exp(beta * (s[i][j] - base)) for k, j in negative if k == i)
        total += math.log(1 + near) / alpha + math.log(1 + far) / beta
    return total / len(s)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('epsilon', [0.0, 0.1, 0.5])
def test_multi_similarity_with_its_miner_is_the_papers_sum(seed: int, epsilon: float) -> None:
    rows, labels = a_batch(seed)
    config = LossConfig(miner_options={'epsilon': epsilon})
    loss, share = PlaceLoss(config)(rows, labels)
    s = cosines(rows)
    positive, negative = mined_by_multi_similarity(s, epsilon)
    expected = multi_similarity(s, positive, negative, alpha=1, beta=50, base=0)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert share == pytest.approx((len(positive) + len(negative)) / 90)


def test_the_losss_options_reach_it() -> None:
    rows, labels = a_batch()
    config = LossConfig(options={'alpha': 2.0, 'beta': 10.0, 'base': 0.5}, miner='none')
    loss, share = PlaceLoss(config)(rows, labels)
    expected = multi_similarity(cosines(rows), *all_pairs(), alpha=2, beta=10, base=0.5)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert share == 1


def test_contrastive_loss_equals_a_loop() -> None:
    rows, labels = a_batch()
    loss, _ = PlaceLoss(LossConfig(name='contrastive', miner='none'))(rows, labels)
    s, (positive, negative) = cosines(rows), all_pairs()
    near = [1 - s[i][j] for i, j in positive if 1 - s[i][j] > 0]
    far = [s[i][j] - 0.5 for i, j in negative if s[i][j] - 0.5 > 0]
    expected = sum(near) / len(near) + sum(far) / len(far)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_triplet_loss_on_the_hardest_equals_a_loop() -> None:
    rows, labels = a_batch()
    loss, share = PlaceLoss(LossConfig(name='triplet', miner='batch_hard'))(rows, labels)
    s, (positive, negative) = cosines(rows), all_pairs()
    gaps = []
    for i in range(len(LABELS)):
        hardest_positive = min(s[i][j] for k, j in positive if k == i)
        hardest_negative = max(s[i][j] for k, j in negative if k == i)
        gaps.append(max(hardest_negative - hardest_positive + 0.1, 0))
    expected = sum(gaps) / sum(gap > 0 for gap in gaps)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    assert share == pytest.approx(20 / 90)


def test_ntxent_equals_a_loop() -> None:
    rows, labels = a_batch()
    loss, _ = PlaceLoss(LossConfig(name='ntxent', miner='none'))(rows, labels)
    s, (positive, negative) = cosines(rows), all_pairs()
    terms = []
    for i, j in positive:
        others = sum(math.exp(s[i][k] / 0.07) for a, k in negative if a == i)
        own = math.exp(s[i][j] / 0.07)
        terms.append(-math.log(own / (own + others)))
    assert float(loss) == pytest.approx(sum(terms) / len(terms), rel=1e-6)


def test_circle_loss_equals_a_loop() -> None:
    rows, labels = a_batch()
    loss, _ = PlaceLoss(LossConfig(name='circle', miner='none'))(rows, labels)
    s, (positive, negative) = cosines(rows), all_pairs()
    m, gamma, terms = 0.4, 80, []
    for i in range(len(LABELS)):
        near = [s[i][j] for k, j in positive if k == i]
        far = [s[i][j] for k, j in negative if k == i]
        p = sum(math.exp(-gamma * max(1 + m - one, 0) * (one - (1 - m))) for one in near)
        n = sum(math.exp(gamma * max(one + m, 0) * (one - m)) for one in far)
        terms.append(math.log(1 + p * n))
    kept = [one for one in terms if one > 0]
    assert float(loss) == pytest.approx(sum(kept) / len(kept), rel=1e-6)


def test_what_a_miner_chose_is_a_share_of_all_ordered_pairs() -> None:
    rows = [torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([0]), torch.tensor([2])]
    assert mined_share(tuple(rows), 3) == pytest.approx(3 / 6)
    assert mined_share(tuple(rows[:1] + rows[1:2] + rows[:1]), 3) == pytest.approx(4 / 6)


def test_an_option_that_a_loss_lacks_is_named() -> None:
    with pytest.raises(TrainingError, match=r'contrastive.*sharpness'):
        PlaceLoss(LossConfig(name='contrastive', options={'sharpness': 1}))
