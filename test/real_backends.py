"""The real TensorRT-RTX and OpenVINO, each in a folder of its own beside the other packages.

Among the others they would run every model of every test (requirements/test-tensorrt.txt and
test-openvino.txt). `import` finds them only while a test asks for it.

TensorRT-RTX reads graphs and builds engines without a GPU. Its `Runtime` is never made: without a
GPU it may end the process.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest


def import_apart(name: str, folder: str) -> dict[str, ModuleType]:
    """A package and its modules, which `import` does not find afterwards; skips without it.

    name: of the package. folder: its folder below the environment.
    """
    known = set(sys.modules)
    path = str(Path(sys.prefix) / folder)
    sys.path.append(path)
    try:
        importlib.import_module(name)
    except (ImportError, OSError) as error:
        pytest.skip(f'{name} cannot be imported ({error}); make setup-test installs it')
    finally:
        sys.path.remove(path)
        new = {
            module: sys.modules.pop(module)
            for module in set(sys.modules) - known
            if module.startswith(folder)
        }
    return new
