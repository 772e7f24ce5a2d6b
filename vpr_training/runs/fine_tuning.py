"""The end of fine-tuning: a model, a map, and what changed on places that nobody trained on.

The model is that of the last epoch. The epoch that is best on the held-out part would be chosen by
the very queries that it is measured on; with few queries that alone looks like a gain.
"""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from vpr_ros.core.describing.describe import OnnxDescriber
from vpr_ros.core.describing.model import ModelCard, write_model
from vpr_ros.drives import notes_of, open_drive
from vpr_ros.map_care.build import MapOptions, build_map
from vpr_training.basics.files import write_json
from vpr_training.data import own_drive
from vpr_training.data.recall_set import RecallSet
from vpr_training.evaluating.recall import examine
from vpr_training.evaluating.third_party_onnx import InputForm
from vpr_training.exporting.describers import open_describer
from vpr_training.exporting.model_folder import trained
from vpr_training.exporting.onnx_graph import checked_graph
from vpr_training.runs.comparison import Comparison, Outcome, draw_comparison, figures_of
from vpr_training.runs.run_folder import RunFolder
from vpr_training.runs.settings import TrainConfig

_WEAKNESS = 'fine-tuned on one place: how well it finds other places was not measured'


def finish(config: TrainConfig, sets: Sequence[RecallSet], folder: RunFolder) -> Outcome:
    """Write model/, comparison.json and comparison.png into a run's folder; raises VprError.

    sets: to compare on, at least one. What is there already is replaced whole, or stays.
    """
    output = folder.folder / 'model'
    with ExitStack() as scratch:
        store = Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix='finish-')))
        before = open_describer(Path(config.init), InputForm(), scratch, precision='fp32')
        old = before.model.card
        network, card = trained(folder.last, f'{old.name}-{folder.folder.resolve().name}')
        graph = checked_graph(network, card)
        after = OnnxDescriber(write_model(store / 'model', graph, card), singly=False)
        found = tuple(
            Comparison(images, examine(before, images, store), examine(after, images, store))
            for images in sets
        )
        write_model(output, graph, card_of(card, old, found))
    outcome = Outcome(found, Path(config.init), output)
    write_json(folder.folder / 'comparison.json', outcome.as_json())
    draw_comparison(
        {one.images.name: (one.before.recall, one.after.recall) for one in found},
        folder.folder / 'comparison.png',
    )
    return outcome


def map_drive(config: TrainConfig, model: Path, folder: RunFolder) -> str:
    """Map the first drive that was trained on into a run's folder; raises VprError.

    Gives what came of it, for people; there is no map where the images are no drive.
    """
    root = Path(config.data.root)
    if not own_drive.recognizes(root):
        return f'no map: {root} is no drive'
    path = own_drive.drives_of(root, config.data)[0]
    drive = open_drive(path, own_drive.drive_options(config.data))
    output = folder.folder / 'map'
    with ExitStack() as scratch:
        report = build_map(
            drive,
            open_describer(model, InputForm(), scratch, precision='fp32'),
            output,
            MapOptions(max_pose_gap_s=config.data.max_pose_gap or None),
            command=shlex.join(['python', '-m', 'vpr_training.train', *sys.argv[1:]]),
        )
    notes = '; '.join(notes_of(drive))
    return f'{output}: {"; ".join(report.lines())}; of {path} by {model}; {notes}'


def card_of(card: ModelCard, old: ModelCard, found: Sequence[Comparison]) -> ModelCard:
    """A fine-tuned model's card, which tells what it came from and what became of it.

    Models that it came from earlier are a list, the last one first: in each other, the fifteenth
    would be nested too deeply to be read.
    """
    known = dict(old.provenance)
    earlier, before = known.pop('fine_tuned_before', []), known.pop('fine_tuned_from', None)
    if before is not None:
        earlier = [before, *(earlier if isinstance(earlier, list) else ())]
    came_from = {'name': old.name, 'sha256': old.sha256, 'provenance': known}
    return replace(
        card,
        summary=f'{old.name}, fine-tuned on {card.provenance.get("training_data", "own images")}',
        licence=old.licence,
        provenance=card.provenance
        | {
            'fine_tuned_from': came_from,
            'fine_tuned_before': earlier,
            'recall_before': {one.images.name: figures_of(one.before.recall) for one in found},
        },
        recall={one.images.name: figures_of(one.after.recall) for one in found},
        weaknesses=tuple(dict.fromkeys([*old.weaknesses, _WEAKNESS])),
        calibration=old.calibration,
    )
