"""Look after a map: what is in it, what is wrong with it, and how it grows and stays small.

A changed map is written beside the old one, and the two are exchanged in one step. So after a kill
the old map is still there, and a node that has it open keeps the old one.
"""

import shlex
import sys
from collections.abc import Sequence

from vpr_ros.cli.command import Parser, command
from vpr_ros.fleet.commands import add_verbs as add_fleet_verbs
from vpr_ros.map_care.commands import add_verbs


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser(prog='map', description=__doc__)
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    add_verbs(verbs)
    add_fleet_verbs(verbs)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command; see --help."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = make_parser().parse_args(given)
    arguments.said = shlex.join(['map', *given])
    return int(arguments.run(arguments))


if __name__ == '__main__':
    sys.exit(main())
