"""A describer of whatever a person names: a model folder, any ONNX file, or a checkpoint.

torch is imported for a checkpoint alone: the others are evaluated without it.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from vpr_ros.core.describing.describe import Describer, OnnxDescriber
from vpr_ros.core.describing.model import CARD_NAME, Model
from vpr_ros.core.describing.shipped import shipped_models
from vpr_training.basics.errors import TrainingError
from vpr_training.evaluating.third_party_onnx import InputForm, OnnxFile


def open_describer(
    path: Path, form: InputForm, scratch: ExitStack, *, precision: str = 'auto'
) -> Describer:
    """A model folder, an ONNX file, or a checkpoint exported to a folder; raises VprError.

    The exported folder lives as long as `scratch`.
    """
    if path.is_dir():
        checkpoints = sorted(file.name for file in path.glob('*.ckpt'))
        if checkpoints and not (path / CARD_NAME).is_file():
            raise TrainingError(
                f'{path}: no model here (no {CARD_NAME}), but {", ".join(checkpoints)}; '
                'give a checkpoint'
            )
        return OnnxDescriber(Model.open(path, precision=precision), singly=False)
    if not path.exists():
        raise TrainingError(
            f'{path}: no such model folder, ONNX file or checkpoint; {shipped_models()}'
        )
    if path.suffix.lower() == '.onnx':
        return OnnxFile(path, form)
    try:
        from vpr_training.exporting.model_folder import export_checkpoint
    except ImportError as error:
        raise TrainingError(
            f'{path}: a checkpoint needs torch and onnx ({error}); run `make setup-training`, or '
            'give an exported model'
        ) from error
    folder = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix='evaluate-')))
    return OnnxDescriber(export_checkpoint(path, folder / path.stem), singly=False)
