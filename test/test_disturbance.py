"""Disturbances of light, colour and camera leave everything in its place."""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs torch: make setup-training')
from vpr_training.data.disturbance import disturbed


def pictures(count: int = 64, seed: int = 0) -> 'torch.Tensor':
    """Smooth grey blobs, each image another, [count, 32, 48, 3]."""
    rng = np.random.default_rng(seed)
    coarse = torch.tensor(rng.uniform(60, 200, (count, 1, 4, 6)), dtype=torch.float32)
    smooth = torch.nn.functional.interpolate(coarse, size=(32, 48), mode='bilinear')
    return smooth.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def test_strength_nought_leaves_the_images_themselves() -> None:
    images = pictures()
    assert disturbed(images, 0, seed=0) is images


@pytest.mark.parametrize('strength', [0.1, 0.6, 1.0])
def test_a_disturbed_batch_has_the_form_of_the_batch(strength: float) -> None:
    images = pictures()
    before = images.clone()
    found = disturbed(images, strength, seed=0)
    assert found.shape == images.shape and found.dtype == torch.uint8
    assert torch.equal(images, before)


def test_equal_seeds_disturb_equally_and_others_do_not() -> None:
    first = disturbed(pictures(), 0.6, seed=3)
    torch.manual_seed(12)
    assert torch.equal(disturbed(pictures(), 0.6, seed=3), first)
    assert not torch.equal(disturbed(pictures(), 0.6, seed=4), first)


def test_more_strength_changes_more() -> None:
    images = pictures(256)
    changes = [
        float((disturbed(images, strength, seed=0).float() - images.float()).abs().mean())
        for strength in (0.1, 0.5, 1.0)
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_no_image_disturbs_another() -> None:
    """One image dark, all others bright: it stays the darkest of all in the mean."""
    images = torch.full((32, 16, 16, 3), 200, dtype=torch.uint8)
    images[7] = 0
    assert int(disturbed(images, 0.5, seed=0).float().mean((1, 2, 3)).argmin()) == 7


def test_things_stay_where_they_are() -> None:
    """The bright half stays the brighter one in nearly all images, whatever the light does."""
    images = torch.full((200, 32, 32, 3), 40, dtype=torch.uint8)
    images[:, :, 16:] = 220
    found = disturbed(images, 0.6, seed=0).float().mean((1, 3))
    assert float((found[:, 16:].mean(1) > found[:, :16].mean(1)).float().mean()) > 0.95
