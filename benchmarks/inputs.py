"""What benchmarks work on: the demo's drives, the shipped models, and the real images."""

import argparse
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRIVES = ROOT / 'demo' / 'drives'
MODELS = sorted(card.parent for card in (ROOT / 'models').glob('*/card.json'))
DATA = Path(os.environ.get('VPR_DATA') or ROOT.parent / 'shared' / 'data')


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """--data: where the real images are."""
    parser.add_argument(
        '--data', type=Path, default=DATA, help='folder of the sets (default: %(default)s)'
    )
