"""The curves of a run show what the run has, and nothing that it has not."""

import pytest

pytest.importorskip('matplotlib', reason='needs matplotlib: make setup-training')

from vpr_training.runs.curves import _drawn


def labels(history: list[dict[str, float]]) -> list[str]:
    return [axes.get_ylabel() for axes in _drawn(history, 'a run').axes]


def epoch(number: int, *, mined_share: float) -> dict[str, float]:
    return {'epoch': number, 'loss': 1 / number, 'mined_share': mined_share, 'lr': 1e-3}


def test_a_run_with_places_and_a_validation_set_has_all_curves() -> None:
    history = [{'epoch': 0, 'town/R@1': 0.5}, epoch(1, mined_share=0.5) | {'town/R@1': 0.6}]
    mined = 'share of pairs mined (dotted)'
    assert labels(history) == ['loss', 'learning rate', 'recall', mined]


def test_a_distillation_without_a_validation_set_has_neither_recall_nor_mined_pairs() -> None:
    history = [epoch(number, mined_share=0.0) for number in (1, 2, 3)]
    assert labels(history) == ['loss', 'learning rate']
