"""The real TensorRT-RTX, which reads graphs and builds engines without a GPU.

It lies in a folder of its own (requirements/test-tensorrt.txt), or among the other packages. Its
`Runtime` is never made: without a GPU it may end the process.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(sys.prefix) / 'tensorrt_rtx'
NAME = 'tensorrt_rtx_bindings'


def import_rtx() -> ModuleType:
    """The library, which `import` does not find afterwards; skips where it is not installed."""
    known = set(sys.modules)
    sys.path.append(str(FOLDER))
    try:
        module = importlib.import_module(NAME)
    except (ImportError, OSError) as error:
        pytest.skip(f'no TensorRT-RTX ({error}); make setup-test installs it on Linux x86_64')
    finally:
        sys.path.remove(str(FOLDER))
        for name in set(sys.modules) - known:
            if name.startswith('tensorrt_rtx'):
                del sys.modules[name]
    return module
