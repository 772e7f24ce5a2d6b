"""Write docs/reference from the code, so that the two cannot differ.

python tools/reference.py            # writes the pages
python tools/reference.py --check    # says which ones differ, and ends with status 1 if any does

Parameters come from the fields of NodeConfig, topics and services from vpr_ros/node/topics.py,
flags from each command's own parser, and settings of training from their dataclasses. Pages that
need ROS 2 or the trainer's packages are left as they are where these are missing.
"""

import argparse
import ast
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGES = ROOT / 'docs' / 'reference'
MADE = '<!-- Made by `python tools/reference.py`; change the code, not this page. -->'

_CODE_OR_NAME = re.compile(r'(`[^`]*`)|((?<![\w/-])(?:--[a-z][\w-]*(?:=[A-Z,]+)?|~/[a-z_]+))')


# Markdown ----------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """Text of the code as Markdown: flags and the node's own names as code, the rest as it is."""

    def shown(part: re.Match[str]) -> str:
        return part[1] or f'`{part[2]}`'

    kept, at = [], 0
    for part in _CODE_OR_NAME.finditer(text):
        kept += [_escaped(text[at : part.start()]), shown(part)]
        at = part.end()
    return ''.join([*kept, _escaped(text[at:])])


def _escaped(text: str) -> str:
    return text.replace('<', '&lt;').replace('*', r'\*')


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    cells = [head, ['---'] * len(head), *rows]
    return [f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in row)} |' for row in cells]


def page(title: str, *blocks: str | Sequence[str]) -> str:
    """A page of blocks with an empty line between two."""
    texts = [block if isinstance(block, str) else '\n'.join(block) for block in blocks if block]
    return '\n\n'.join([f'# {title}', MADE, *texts]) + '\n'


def code(text: str, language: str = '') -> str:
    """A block of code."""
    return f'```{language}\n{text.strip()}\n```'


# Parameters --------------------------------------------------------------------------------------

TYPES = {bool: 'bool', int: 'integer', float: 'double', str: 'string', list: 'list of doubles'}
# The first parameter of each group, in the order of their declaration, with the group's title.
GROUPS = {
    'candidates': 'From an image to a pose',
    'use_landmarks': 'Landmarks',
    'continuous': 'The drive, odometry and initial poses',
    'map': 'Map, model and computing',
    'image_topic': 'Cameras',
    'map_frame': 'Frames and tf',
    'published_matches': 'Output and lifecycle',
}
SHOWN_FIRST = ('map', 'image_topic', 'map_frame')  # groups that everybody sets


def parameters() -> str:
    """docs/reference/parameters.md."""
    from vpr_ros.node.config import NodeConfig

    grouped: dict[str, list[str]] = {}
    for declared in fields(NodeConfig):
        if declared.name in GROUPS:
            group = grouped.setdefault(declared.name, [])
        group.append(_parameter(declared))
    order = sorted(grouped, key=lambda name: (name not in SHOWN_FIRST, list(GROUPS).index(name)))
    blocks = [block for name in order for block in (f'## {GROUPS[name]}', *grouped[name])]
    return page(
        'Parameters of the node',
        'Every parameter of `localize`. The same as a file to copy: '
        '[config/localize.yaml](../../config/localize.yaml).',
        code(
            'ros2 launch vpr_ros localize.launch.py params_file:=my_parameters.yaml\n'
            'ros2 run vpr_ros localize --ros-args -p map:=$HOME/maps/office\n'
            'ros2 param set /localize max_false_fix_rate 0.001      # while it runs\n'
            'ros2 param describe /localize max_false_fix_rate'
        ),
        'The node refuses an invalid value and says why, at start and on `ros2 param set`. You '
        'can change a parameter that is *taken at configure* before the node is configured, or '
        'after `ros2 lifecycle set /localize cleanup`.',
        'The node also has the parameters of every rclpy node: `use_sim_time`, and '
        '`qos_overrides.<topic>.subscription.*` for the image topics (`reliability`, `history`, '
        '`depth`).',
        *blocks,
    )


def _parameter(declared: Field[Any]) -> str:
    from vpr_ros.core.settings import default_of

    facts, default = declared.metadata, default_of(declared)
    low, high = facts['low'], facts['high']
    legal = '' if low is None else f'{low:g} to {high:g} {facts["unit"]}'.rstrip()
    choices = ', '.join(f'`{one}`' for one in facts['choices'])
    when = 'taken at configure' if facts['at_configure'] else 'may change while the node runs'
    line = [
        TYPES[type(default)],
        f'default `{json.dumps(default)}`',
        legal or (f'one of {choices}' if choices else ''),
        when,
    ]
    return '\n\n'.join(
        [f'### `{declared.name}`', prose(facts['sentence']), ' · '.join(filter(None, line))]
    )


# Topics ------------------------------------------------------------------------------------------


def topics() -> str:
    """docs/reference/topics.md."""
    from vpr_ros.node import topics as have
    from vpr_ros.node.diagnostics import VALUES

    return page(
        'Topics, services and frames',
        'This page gives the names before any remapping; `~` is the name of the node, '
        '`/localize`. The [parameter](parameters.md#image_topic) `image_topic` names the image '
        'topics. Remap the others (`--ros-args -r odom:=/wheel/odom`), or give them to '
        '[localize.launch.py](commands.md#localizelaunchpy).',
        '## What it listens to',
        table(['topic', 'type, QoS', 'use'], [_topic(one) for one in have.LISTENED]),
        'The parameter [`image_qos`](parameters.md#image_qos) sets the QoS of images; the table '
        'shows its default. `default` is reliable.',
        '## What it publishes',
        table(['topic', 'type, QoS', 'when'], [_topic(one) for one in have.PUBLISHED]),
        '## Services',
        table(
            ['service', 'type', 'what it does'],
            [(f'`{one.name}`', _type(one.type), one.meaning) for one in have.SERVICES],
        ),
        'As a lifecycle node it has the services `~/change_state`, `~/get_state` and so on, and '
        'the topic `~/transition_event`. With `autostart`, which is the default, it configures '
        'and activates itself. It has no actions.',
        '## Frames',
        table(
            ['parent', 'child', 'from or to tf', 'use'],
            [
                *((one.parent, one.child, 'from', one.when) for one in have.TAKEN_TRANSFORMS),
                *((one.parent, one.child, 'to', one.when) for one in have.SENT_TRANSFORMS),
            ],
        ),
        'Frames follow REP-103 and REP-105. `base_T_camera` is the pose of the optical frame: z '
        'forward, x right.',
        '## Diagnostics',
        'The node sends one status, `<node>: localization`. Its level is ERROR if a person must '
        'act, WARN if there is no fix now, and OK otherwise. Its message says why the node does '
        'not know where the robot is, and what to do next. '
        '[Troubleshooting](../troubleshooting.md) explains each message. Values that do not apply '
        'are left out.',
        table(['value', 'meaning'], [(f'`{key}`', prose(text)) for key, text in VALUES.items()]),
        '## Messages and services of vpr_msgs',
        *(block for path in _definitions() for block in _definition(path)),
    )


def _topic(topic: Any) -> tuple[str, str, str]:
    return f'`{topic.name}`', f'{_type(topic.type)}<br>{_qos(topic.qos)}', topic.when


def _type(name: str) -> str:
    """As `package/Name`, which may be broken after the package where a table is narrow."""
    package, _, short = name.split('/')
    return f'{package}/<wbr>{short}'


def _qos(qos: Any) -> str:
    """As `reliable, transient local, depth 1`."""
    durability = qos.durability.name.replace('_', ' ').lower()
    kept = '' if durability == 'volatile' else f'{durability}, '
    return f'{qos.reliability.name.replace("_", " ").lower()}, {kept}depth {qos.depth}'


def _definitions() -> list[Path]:
    return [
        *sorted((ROOT / 'vpr_msgs/msg').glob('*.msg')),
        *sorted((ROOT / 'vpr_msgs/srv').glob('*.srv')),
    ]


def _definition(path: Path) -> tuple[str, str]:
    name = f'vpr_msgs/{path.parent.name}/{path.stem}'
    return f'### {name}', code(path.read_text(encoding='utf-8'), 'python')


# Commands ----------------------------------------------------------------------------------------


RECORDING = 'reading the recording'  # a group that most commands have; it is shown once
NO_TITLES = ('options', 'optional arguments', 'positional arguments')  # by Python's version


def commands() -> str:
    """docs/reference/commands.md."""
    names = _executables()
    blocks: list[str] = []
    for name in names:
        module = importlib.import_module(f'vpr_ros.{name}')
        made = getattr(module, 'make_parser', None)
        blocks += _localize() if made is None else _command(made())
    return page(
        'Commands',
        f'Run a command as `ros2 run vpr_ros {names[1]} ...` where the package is installed, or '
        f'as `python -m vpr_ros.{names[1]} ...` everywhere. `--help` prints the same text as this '
        'page. The commands of the trainer: [Training commands](training-commands.md).',
        'Exit status: 0 done, 1 a gate failed, 2 bad input, 130 stopped by Ctrl-C '
        'or SIGTERM. On bad input, a command prints one line on stderr.',
        *blocks,
        *_recording(),
        '## Launch files',
        *_launch_files(),
    )


def _executables() -> list[str]:
    """The commands that setup.py installs."""
    tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
    return list(ast.literal_eval(_assigned(tree, 'EXECUTABLES')))


def _localize() -> list[str]:
    return [
        '## localize',
        'The node. It takes only ROS arguments: [parameters](parameters.md), remappings, the log '
        'level. If it cannot start, it ends with status 2 and prints the reason on stderr.',
        code('localize [--ros-args -p NAME:=VALUE ... -r FROM:=TO ... --params-file FILE]'),
    ]


def _launch_files() -> list[str]:
    """A table of arguments for each launch file."""
    blocks = []
    for path in sorted((ROOT / 'launch').glob('*.launch.py')):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        own = _assigned(tree, 'OWN') or _assigned(tree, 'ARGUMENTS')
        if own is None:
            continue
        there = {'CONFIG': Path('config'), 'localize': {'CONFIG': Path('config')}, 'str': str}
        held = eval(compile(ast.Expression(own), path.name, 'eval'), {'__builtins__': {}}, there)
        rows = [
            (f'`{name}`', f'`{default}`' if default else '', prose(said))
            for name, (default, said) in held.items()
        ]
        described = (ast.get_docstring(tree) or '').split('\n\n')
        blocks += [f'### {path.name}', prose(' '.join(described[0].split()))]
        if _assigned(tree, 'OWN') is not None:
            blocks += [prose(' '.join(described[-1].split()))]
        blocks += ['\n'.join(table(['argument', 'default', 'meaning'], rows))]
    return blocks


def _assigned(tree: ast.Module, name: str) -> Any:
    """What a module assigns to a name, unevaluated; None where it does not."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value
    return None


def training_commands() -> str:
    """docs/reference/training-commands.md."""
    blocks = []
    for module in _training_modules():
        blocks += _command(importlib.import_module(module).make_parser())
    return page(
        'Training commands',
        'The trainer needs `make setup-training`, and no ROS. On bad input, a command prints one '
        'line on stderr and ends with status 2. Status 1 means that a gate failed, such as recall '
        'that falls too far.',
        *blocks,
    )


def _training_modules() -> list[str]:
    """The modules of vpr_training that are commands, in the order in which one needs them."""
    usual = ['data', 'train', 'export', 'evaluate', 'experiments', 'whitening']
    found = {path.stem for path in (ROOT / 'vpr_training').glob('*.py') if _is_command(path)}
    found |= {
        path.parent.name
        for path in (ROOT / 'vpr_training').glob('*/__main__.py')
        if _is_command(path)
    }
    names = [*(name for name in usual if name in found), *sorted(found - set(usual))]
    return [
        f'vpr_training.{name}.__main__'
        if (ROOT / 'vpr_training' / name).is_dir()
        else f'vpr_training.{name}'
        for name in names
    ]


def _is_command(path: Path) -> bool:
    return 'def make_parser()' in path.read_text(encoding='utf-8')


def _command(parser: argparse.ArgumentParser) -> list[str]:
    """A section for a command, and one for each of its verbs."""
    verbs = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    depth = '###' if parser.prog.split()[-2:-1] == ['map'] else '##'
    name = parser.prog.removeprefix('python -m ')
    blocks = [f'{depth} {name}', *_description(parser)]
    if verbs:
        blocks.append(code(f'{parser.prog} VERB ...'))
        return blocks + [block for one in verbs[0].choices.values() for block in _command(one)]
    blocks.append(code(_usage(parser)))
    for title, actions in _groups(parser).items():
        if title == RECORDING:
            blocks.append('Also the options of [reading a recording](#reading-a-recording).')
            continue
        blocks += [f'**{title[0].upper()}{title[1:]}**'] if title else []
        blocks.append('\n'.join(_option(parser, one) for one in actions))
    if _has_settings(parser):
        blocks.append(
            'Every setting of a file is a flag, too, such as `--data.root DIR`: '
            '[Training settings](training-settings.md).'
        )
    if parser.epilog:
        blocks.append(prose(parser.epilog))
    return blocks


def _groups(parser: argparse.ArgumentParser) -> dict[str, list[argparse.Action]]:
    """The options that a page shows, by the title of their group; '' for those of none."""
    found: dict[str, list[argparse.Action]] = {}
    shown = {id(one) for one in _shown(parser)}
    for group in parser._action_groups:
        title = '' if group.title in NO_TITLES else group.title or ''
        if ours := [one for one in group._group_actions if id(one) in shown]:
            found.setdefault(title, []).extend(ours)
    return found


def _recording() -> list[str]:
    """The options that all commands have that read a recording."""
    from vpr_ros.calibrate import make_parser

    parser = make_parser()
    options = (_option(parser, one) for one in _groups(parser)[RECORDING])
    return ['## Reading a recording', '\n'.join(options)]


def _description(parser: argparse.ArgumentParser) -> list[str]:
    """Paragraphs of a parser's description; indented ones are examples."""
    paragraphs = (parser.description or '').strip('\n').split('\n\n')
    return [
        code('\n'.join(line.removeprefix('  ') for line in one.split('\n')))
        if one.startswith(('  ', 'python -m'))
        else prose(' '.join(one.split()))
        for one in paragraphs
    ]


def _shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options that a page has; those that are settings have a page of their own."""
    hidden = {
        'help',
        'print_config',
        'print_shtab',
        *(_settings_names() if _has_settings(parser) else ()),
    }
    return [
        one
        for one in parser._actions
        if one.dest not in hidden and '.' not in one.dest and one.help != argparse.SUPPRESS
    ]


def _has_settings(parser: argparse.ArgumentParser) -> bool:
    return any(action.dest.startswith('data.') for action in parser._actions)


def _settings_names() -> set[str]:
    settings = sys.modules.get('vpr_training.runs.settings')
    return {entry.name for entry in fields(settings.TrainConfig)} if settings else set()


def _usage(parser: argparse.ArgumentParser) -> str:
    """What a command needs, on one line; the same for every version of Python."""
    either = [group for group in parser._mutually_exclusive_groups if group.required]
    among = {id(one) for group in either for one in group._group_actions}
    words = [parser.prog]
    words += [f'({" | ".join(_said(one) for one in group._group_actions)})' for group in either]
    needed = [one for one in _shown(parser) if id(one) not in among]
    words += [_said(one) for one in needed if one.required and one.option_strings]
    words += [_said(one) for one in needed if not one.option_strings]
    return ' '.join([*words, '[OPTION ...]'])


def _said(action: argparse.Action) -> str:
    """An option and what follows it, as `--bags BAG [BAG ...]`."""
    flag = action.option_strings[-1] if action.option_strings else ''
    return f'{flag} {_values(action)}'.strip()


def _values(action: argparse.Action) -> str:
    choices = f'{{{",".join(map(str, action.choices))}}}' if action.choices else ''
    name = action.metavar or choices or action.dest.upper()
    if isinstance(name, tuple):
        return ' '.join(name)
    if action.nargs == 0:
        return ''
    forms = {'?': f'[{name}]', '+': f'{name} [{name} ...]', '*': f'[{name} ...]'}
    return forms.get(str(action.nargs), name)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    said = (action.help or '').replace('%(prog)s', parser.prog)
    said = said % {**vars(action), 'prog': parser.prog} if '%(' in said else said
    choices = '' if action.metavar is None or not action.choices else _choices(action)
    needed = 'required' if action.required and action.option_strings else ''
    text = '; '.join(filter(None, [f'{prose(" ".join(said.split()))}{choices}', needed]))
    return f'- `{_said(action)}`{": " if text else ""}{text}'


def _choices(action: argparse.Action) -> str:
    return f' ({", ".join(map(str, action.choices or ()))})'


# Training ----------------------------------------------------------------------------------------


def training_settings() -> str:
    """docs/reference/training-settings.md."""
    from vpr_training.runs.settings import TrainConfig

    return page(
        'Training settings',
        'Every setting of `python -m vpr_training.train`. In a file, the sections are mappings; '
        'on the command line, each is a flag, such as `--optimizer.name adam`. The same as a '
        'file: [config/train/all_settings.yaml](../../config/train/all_settings.yaml). Your own '
        'file needs only the settings that differ.',
        *_sections(TrainConfig(), prefix=''),
    )


def _sections(section: Any, *, prefix: str) -> Iterator[str]:
    """A table for each section of settings, what is in no section first."""
    from vpr_training.config import documents_of

    said = documents_of(type(section))
    values = {entry.name: getattr(section, entry.name) for entry in fields(section)}
    rows = [
        (f'`{prefix}{name}`', f'`{json.dumps(value)}`', prose(said[name]))
        for name, value in values.items()
        if not is_dataclass(value)
    ]
    if rows:
        yield '\n'.join(table(['setting', 'default', 'meaning'], rows))
    for name, value in values.items():
        if is_dataclass(value):
            yield f'## {prefix}{name}'
            yield prose(said[name])
            yield from _sections(value, prefix=f'{prefix}{name}.')


# Models ------------------------------------------------------------------------------------------


def models() -> str:
    """docs/reference/models.md."""
    from vpr_ros.core.describing.model import Model
    from vpr_ros.core.describing.shipped import default_model

    found = [
        Model.open(card.parent, precision='fp32')
        for card in sorted((ROOT / 'models').glob('*/card.json'))
    ]
    blocks = []
    for model in found:
        card = model.card
        is_default = ' The default.' if card.name == Path(default_model()).name else ''
        cells = '{} x {} of {} numbers'.format(*card.cells) if card.cells else 'none'
        rows = [
            ('image', f'{card.image_height} x {card.image_width} px'),
            ('descriptor', f'{card.descriptor_size} numbers'),
            ('cells', cells),
            ('graphs', ', '.join(card.precisions) or 'fp32'),
            ('licence', card.licence),
        ]
        blocks += [f'## {card.name}', prose(card.summary) + is_default]
        blocks += ['\n'.join(table(['', 'value'], [(name, prose(text)) for name, text in rows]))]
        blocks += ['\n'.join(f'- {prose(one)}' for one in card.weaknesses)]
    return page(
        'Shipped models',
        'From their cards; `models/NAME/card.json` has recall, latency and provenance, too. '
        'A map remembers its model, and the node finds the shipped one that made it.',
        *blocks,
    )


# -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Source:
    """What a page is made by, and the module without which it cannot be made."""

    make: Callable[[], str]
    needs: str


SOURCES = {
    'parameters.md': Source(parameters, 'vpr_ros.node.config'),
    'topics.md': Source(topics, 'rclpy'),
    'commands.md': Source(commands, 'rclpy'),
    'models.md': Source(models, 'vpr_ros.core'),
    'training-commands.md': Source(training_commands, 'torch'),
    'training-settings.md': Source(training_settings, 'torch'),
}


def made(name: str) -> str | None:
    """The text of a page; None where a package that it needs is missing."""
    source = SOURCES[name]
    try:
        importlib.import_module(source.needs)
    except ImportError:
        return None
    return source.make()


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--check', action='store_true', help='write nothing; status 1 if any differs'
    )
    arguments = parser.parse_args()
    differing = []
    for name, source in SOURCES.items():
        text = made(name)
        if text is None:
            print(f'{name}: left as it is, {source.needs} is not installed')
        elif arguments.check:
            path = PAGES / name
            if not path.is_file() or path.read_text(encoding='utf-8') != text:
                differing.append(name)
                print(
                    f'docs/reference/{name}: differs from the code; run python tools/reference.py'
                )
        else:
            (PAGES / name).write_text(text, encoding='utf-8')
    return 1 if differing else 0


if __name__ == '__main__':
    sys.exit(main())
