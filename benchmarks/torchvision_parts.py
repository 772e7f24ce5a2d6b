"""torchvision's transforms and models, also where its compiled part does not fit torch.

The registry has torchvision for CUDA only. Beside a CPU build of torch its operators cannot be
loaded, and importing it fails on two of them that neither transforms nor ResNets use; naming those
two beforehand lets the rest be imported. The Python that runs is torchvision's own. It lies in a
folder of its own (requirements/torchvision.txt), or, where it fits, among the other packages.
"""

import sys
import warnings
from pathlib import Path

import torch

FOLDER = Path(sys.prefix) / 'torchvision'
UNUSED_OPERATORS = ('nms', 'qnms')
_named = torch.library.Library('torchvision', 'FRAGMENT')


def import_torchvision():
    """The package; ImportError where it is not installed."""
    sys.path.append(str(FOLDER))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return _import()
    except RuntimeError as error:
        raise ImportError(f'torchvision does not fit torch {torch.__version__}') from error
    finally:
        sys.path.remove(str(FOLDER))


def _import():
    for name in UNUSED_OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            _named.define(f'{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor')
    import torchvision
    import torchvision.transforms

    return torchvision
