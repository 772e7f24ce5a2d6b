"""Link the clone and its vpr_msgs side by side into a colcon workspace.

colcon's crawl and the one of catkin_pkg, by which rosdep and bloom look, end at a folder with a
package.xml. vpr_msgs, which lies in the folder of vpr_ros, is found by neither; beside it, by
both, because both follow symbolic links (decision 0021).

    python tools/workspace.py ~/ws      # then: cd ~/ws && rosdep install ... && colcon build

Exit status: 0 linked, or linked already; 2 where something else lies at a link's place.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {'vpr_ros': ROOT, 'vpr_msgs': ROOT / 'vpr_msgs'}


class WorkspaceError(Exception):
    """The workspace cannot take the links."""


def main(arguments: list[str]) -> int:
    """Make the links and say what to do next."""
    if len(arguments) != 1 or not arguments[0] or arguments[0].startswith('-'):
        print('workspace: expected one folder, as in make workspace WS=~/ws', file=sys.stderr)
        return 2
    workspace = Path(arguments[0]).expanduser().absolute()
    try:
        for line in link(workspace):
            print(f'workspace: {line}')
    except (OSError, WorkspaceError) as error:
        print(f'workspace: {error}', file=sys.stderr)
        return 2
    print(f'workspace: next: cd {workspace} && colcon build')
    return 0


def link(workspace: Path) -> list[str]:
    """Link both packages into WORKSPACE/src; a sentence for each.

    Raises WorkspaceError before it has changed anything.
    """
    if workspace.resolve() == ROOT or ROOT in workspace.resolve().parents:
        raise WorkspaceError(f'{workspace}: lies in the clone; expected a folder outside of it')
    source = workspace / 'src'
    missing = {name: package for name, package in PACKAGES.items() if not _is_there(source, name)}
    source.mkdir(parents=True, exist_ok=True)
    for name, package in missing.items():
        # Relative, so that the workspace may be moved or mounted elsewhere with the clone.
        (source / name).symlink_to(os.path.relpath(package, source.resolve()))
    return [
        f'{source / name} {"leads" if name in missing else "led already"} to {package}'
        for name, package in PACKAGES.items()
    ]


def _is_there(source: Path, name: str) -> bool:
    place = source / name
    if not os.path.lexists(place):
        return False
    if place.resolve() != PACKAGES[name]:
        raise WorkspaceError(f'{place} is there already and is not {PACKAGES[name]}; move it away')
    return True


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
