"""A process that runs the fleet's commands with the real LanceDB, one request a line.

    python test/fleet_world.py

A process of its own, because LanceDB's threads and its hooks at fork would stay in pytest's
process, where later tests fork. A request is {"do": name, "given": {...}}; an answer is
{"answer": ...} or {"raised": traceback}.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ANSWERS = 'answer: '
BATCH = 8  # places in memory at a time, so that small maps have several batches


class FleetProcess:
    """The other side: what a test talks to."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | (environment or {}),
        )

    def do(self, name: str, **given: Any) -> Any:
        """What a function of this file answers."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({'do': name, 'given': given}) + '\n')
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(ANSWERS):
                found = json.loads(line.removeprefix(ANSWERS))
                assert 'raised' not in found, found['raised']
                return found['answer']
        raise AssertionError(f'the process ended with {self._process.wait()}')

    def map(self, *argv: str | Path) -> tuple[int, str, str]:
        """Status, output and errors of the command `map`."""
        status, out, err = self.do('run', argv=[str(word) for word in argv])
        return status, out, err

    def done(self, *argv: str | Path) -> str:
        """Output of a command that succeeds."""
        status, out, err = self.map(*argv)
        assert status == 0, err
        return out

    def refused(self, *argv: str | Path) -> str:
        """The error of a command that is refused in one line."""
        status, out, err = self.map(*argv)
        assert (status, out) == (2, ''), (status, out, err)
        lines = [line for line in err.splitlines() if line.startswith('error: ')]
        assert len(lines) == 1, err
        return lines[0]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        assert self._process.stdout
        self._process.stdout.close()


def run(argv: list[str]) -> tuple[int, str, str]:
    """The command `map`."""
    from vpr_ros import map

    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        status = map.main(argv)
    return status, out.getvalue(), err.getvalue()


def places_read(argv: list[str]) -> Any:
    """Run a push; its output, and how many places of the map it read."""
    from vpr_ros.fleet import push

    real, read = push.places_of, []

    def places_of(place_map: Any, rows: Any, *given: Any, **options: Any) -> Any:
        read.extend(rows.tolist())
        return real(place_map, rows, *given, **options)

    push.places_of = places_of
    try:
        _, out, err = run(argv)
        return [out + err, len(set(read))]
    finally:
        push.places_of = real


def with_rows_in_another_order(argv: list[str]) -> tuple[int, str, str]:
    """Run a pull while the engine gives the rows of each piece last first."""
    from vpr_ros.fleet import engine

    real = engine.Table.take

    def take(table: Any, *asked: Any) -> Any:
        found = real(table, *asked)
        return found.take(list(range(len(found)))[::-1])

    engine.Table.take = take
    try:
        return run(argv)
    finally:
        engine.Table.take = real


# Looking into a store ------------------------------------------------------------------------


def places_table(fleet: str) -> Any:
    import lancedb

    database = lancedb.connect(fleet)
    (name,) = [one for one in database.list_tables().tables if one.startswith('places')]
    return database.open_table(name)


def rows(fleet: str) -> int:
    """How many places a store holds, those that nobody sees included."""
    import lancedb

    database = lancedb.connect(fleet)
    tables = [one for one in database.list_tables(limit=1000).tables if one.startswith('places')]
    return sum(database.open_table(one).count_rows() for one in tables)


def names(fleet: str) -> list[str]:
    import lancedb

    return sorted(lancedb.connect(fleet).list_tables().tables)


def tamper(fleet: str, column: str, value: str) -> None:
    """Set a column of all places to the value of an expression of SQL."""
    places_table(fleet).update(values_sql={column: value})


def tamper_parts(fleet: str, column: str, value: str) -> None:
    import lancedb

    lancedb.connect(fleet).open_table('parts').update(values_sql={column: value})


def forget_rows(fleet: str, where: str) -> None:
    places_table(fleet).delete(where)


def tamper_details(fleet: str, changes: dict[str, Any]) -> None:
    """Set entries of the details of a store's only part."""
    import lancedb

    parts = lancedb.connect(fleet).open_table('parts')
    (row,) = parts.to_arrow().to_pylist()
    parts.update(values={'details': json.dumps(json.loads(row['details']) | changes)})


def forge(fleet: str, what: str) -> None:
    """Change a place and make its id and the part's digest true again, as an attacker would."""
    import lancedb
    import numpy as np

    from vpr_ros.core.landmarks.points import Landmarks
    from vpr_ros.fleet import landmarks, places, store

    database = lancedb.connect(fleet)
    parts = database.open_table('parts')
    (row,) = parts.to_arrow().to_pylist()
    record = store.PartRecord(**row)
    table = places_table(fleet)
    found = table.search().to_arrow().select(record.form.schema().names)
    order = np.argsort(found.column('row').to_numpy())
    honest = places.from_table(found.take(order), record.form, where='test')
    descriptors, poses, held = honest.descriptors.copy(), honest.poses.copy(), list(honest.names)
    thumbnails = list(honest.thumbnails)
    if what == 'infinite descriptor':
        descriptors[1, 0] = np.inf
    elif what == 'long descriptor':
        descriptors[1] *= 3
    elif what == 'nan pose':
        poses[1, 2] = np.nan
    elif what == 'no quaternion':
        poses[1, 3:] = 0
    elif what == 'path upwards':
        held[1] = '../../etc/passwd'
    elif what == 'escape':
        held[1] = 'a\x1b[2Jb.jpg'
    elif what == 'two lines':
        held[1] = 'a.jpg\nb.jpg'
    elif what == 'large thumbnail':
        thumbnails[1] = b'x' * (places.MOST_THUMBNAIL_BYTES + 1)
    marks = None if honest.landmarks is None else list(honest.landmarks)
    if marks is not None:
        points, sigmas = marks[1].points_m.copy(), marks[1].sigma_m.copy()
        seen = marks[1].descriptors
        if what == 'landmark behind':
            points[0, 2] = -1
        elif what == 'landmark on the lens':
            points[0, 2] = 0
        elif what == 'nan landmark':
            points[0, 0] = np.nan
        elif what == 'moved landmark':
            points[0, 0] += 1
        elif what == 'infinite sigma':
            sigmas[0] = np.inf
        elif what == 'negative sigma':
            sigmas[0] = -1
        elif what == 'many landmarks':
            times = landmarks.MOST_LANDMARKS + 1
            points, sigmas, seen = (np.repeat(one[:1], times, 0) for one in (points, sigmas, seen))
        marks[1] = Landmarks(points, sigmas, seen)
    forged = places.Places(
        poses, honest.stamps_ns, descriptors, honest.cells, held, thumbnails, marks
    )
    ids, of_landmarks = forged.ids(record.form), forged.landmark_ids(record.form)
    if what == 'moved landmark':
        of_landmarks = honest.landmark_ids(record.form)  # the digest is true, the id is not
        database.drop_table(table.name)
    digest = places.part_digest(places.keys_of(ids, of_landmarks))
    batch = places.as_batch(
        forged, record.form, first_row=0, ids=ids, ids_of_landmarks=of_landmarks,
        base_T_camera=None,
    )  # fmt: skip
    database.create_table(f'places_{digest}', batch)
    parts.update(values={'part': digest})


def other_columns(fleet: str) -> None:
    """The table of places with descriptors of doubles."""
    import lancedb
    import pyarrow as pa

    table = places_table(fleet)
    found = table.to_arrow()
    number = found.schema.names.index('descriptor')
    size = found.schema.field('descriptor').type.list_size
    column = found.column('descriptor').cast(pa.list_(pa.float64(), size))
    lancedb.connect(fleet).create_table(
        table.name, found.set_column(number, 'descriptor', column), mode='overwrite'
    )


# Kills ---------------------------------------------------------------------------------------


def in_child(work: Callable[[], Any]) -> tuple[int, Any]:
    """Do something in a fork; its exit status (negative: the signal) and what it answers."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            answer = json.dumps(work()).encode()
        os.write(writing, answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, 'rb') as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, json.loads(said) if said else None


def killed_after(seconds: float, work: Callable[[], Any]) -> int:
    """The same, and it is killed after a time."""
    child = os.fork()
    if child == 0:
        warnings.simplefilter('ignore')
        work()
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def with_kill_at(point: int, work: Callable[[], Any]) -> Callable[[], Any]:
    """Work that kills itself at one of its points.

    They are before and after each commit, before a table is made, and at each batch of places
    that the engine takes or gives. Answers how many there are, where it comes to its end.
    """

    def working() -> int:
        from vpr_ros.fleet import engine, push

        reached = itertools.count(1)

        def passed() -> None:
            if next(reached) == point:
                os.kill(os.getpid(), signal.SIGKILL)

        def guarded(call: Callable[..., Any], *, commits: bool) -> Callable[..., Any]:
            def guarded(*given: Any, **options: Any) -> Any:
                passed()
                answer = call(*given, **options)
                if commits:
                    passed()
                return answer

            return guarded

        for owner, name, commits in (
            (engine.Table, 'add', True),
            (engine.Table, 'restore', True),
            (engine.Table, 'take', False),
            (engine.Database, 'create', True),
            (push, 'as_batch', False),
        ):
            setattr(owner, name, guarded(getattr(owner, name), commits=commits))
        work()
        return next(reached) - 1

    return working


def quietly(argv: list[str]) -> Callable[[], Any]:
    def work() -> None:
        status, _, err = run(argv)
        assert status == 0, err

    return work


def state(fleet: str, folder: str) -> Any:
    """Content of the newest version, and the digest of the map that is pulled from it."""
    status, out, err = run(['fleet', fleet, '--json'])
    if status:
        return ['none' if 'no fleet here' in err else err, '']
    content = json.loads(out)['content']
    shutil.rmtree(folder, ignore_errors=True)
    status, _, err = run(['pull', '--fleet', fleet, '--output', folder])
    return [content, digest(folder) if status == 0 else err]


def digest(folder: str | Path) -> str:
    """Of all files of a folder, names and bytes."""
    found = hashlib.sha256()
    for path in sorted(Path(folder).rglob('*')):
        if path.is_file():
            found.update(f'{path.relative_to(folder)}\n'.encode() + path.read_bytes())
    return found.hexdigest()


def kills(base: str, argv: list[str], after_again: bool, timed: int) -> Any:
    """Kill a command at each of its points, and at times, on a copy of a store each.

    base: the store before; `FLEET` in the command stands for the copy. after_again: a rerun must
    complete it. Answers how often it ended how, and what was wrong.
    """
    before = in_child(lambda: state(base, 'pulled'))[1]
    fleet = 'copy'

    def fresh() -> Callable[[], Any]:
        shutil.rmtree(fleet, ignore_errors=True)
        if Path(base).exists():
            shutil.copytree(base, fleet)
        return quietly([fleet if word == 'FLEET' else word for word in argv])

    work = fresh()
    begun = time.monotonic()
    status, points = in_child(with_kill_at(0, work))
    taken_s = time.monotonic() - begun
    assert status == 0, status
    after, count = in_child(lambda: [state(fleet, 'pulled'), rows(fleet)])[1]
    ended, wrong = Counter[str](), []

    def looked(work: Callable[[], Any]) -> Any:
        found = state(fleet, 'pulled')
        if not after_again:
            return found, found, count
        work()
        return found, state(fleet, 'pulled'), rows(fleet)

    def look(where: str) -> None:
        status, answer = in_child(lambda: looked(work))
        found, again, held = answer or ('', '', 0)
        # A store that was only made has its frame, and no part yet.
        is_empty = before[0] == 'none' and found[0] == EMPTY
        if status or not (found in (before, after) or is_empty):
            wrong.append(f'{where}: {status}, {found}')
        ended['after' if found == after else 'before'] += 1
        if after_again and (again[0], held) != (after[0], count):
            wrong.append(f'{where}, again: {again}, {held} of {count} rows')

    for point in range(1, points + 1):
        work = fresh()
        status, _ = in_child(with_kill_at(point, work))
        assert status == -signal.SIGKILL, (point, status)
        look(f'point {point}')
    for number in range(timed):
        work = fresh()
        killed_after(1.1 * taken_s * (number + 0.5) / timed, work)
        look(f'time {number}')
    return {'points': points, 'ended': ended, 'wrong': wrong}


EMPTY = hashlib.sha256(b'').hexdigest()[:12]


def pull_kills(argv: list[str], folder: str) -> Any:
    """Kill a pull that replaces a map at each of its points; what the folder holds afterwards."""
    kept = Path('kept')
    old = digest(shutil.copytree(folder, kept))
    status, points = in_child(with_kill_at(0, quietly(argv)))
    new = digest(folder)
    wrong = [] if status == 0 and new != old else ['the pull itself']
    for point in range(1, points + 1):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        status, _ = in_child(with_kill_at(point, quietly(argv)))
        if status != -signal.SIGKILL or digest(folder) not in (old, new):
            wrong.append(f'point {point}: {status}')
    return {'points': points, 'wrong': wrong}


def at_once(commands: list[list[str]]) -> list[Any]:
    """Run commands in processes of their own at the same time; each one's status and words."""
    starts = time.time() + 0.3
    pipes = []
    for argv in commands:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            warnings.simplefilter('ignore')
            time.sleep(max(0.0, starts - time.time()))
            os.write(writing, json.dumps(run(argv)).encode())
            os._exit(0)
        os.close(writing)
        pipes.append((child, reading))
    answers = []
    for child, reading in pipes:
        with os.fdopen(reading, 'rb') as pipe:
            answers.append(json.loads(pipe.read() or b'null'))
        os.waitpid(child, 0)
    return answers


def conflicts(fleet: str, folder: str, always: bool) -> Any:
    """Push a map while another program rolls back before each of its commits, or before one."""
    from vpr_ros.fleet import engine

    real = engine.Table.add
    met = []

    def add(self: Any, schema: Any, batches: Iterator[Any]) -> None:
        if self.where.endswith('/parts') and (always or not met):
            met.append(1)
            import lancedb

            table = lancedb.connect(fleet).open_table('parts')
            table.restore(2)
        real(self, schema, batches)

    engine.Table.add = add  # type: ignore[method-assign]
    pause = engine._FIRST_PAUSE_S, engine._LONGEST_PAUSE_S
    engine._FIRST_PAUSE_S, engine._LONGEST_PAUSE_S = 0.001, 0.002
    try:
        return [run(['push', folder, '--fleet', fleet]), len(met)]
    finally:
        engine.Table.add = real  # type: ignore[method-assign]
        engine._FIRST_PAUSE_S, engine._LONGEST_PAUSE_S = pause


def main() -> None:
    out = os.fdopen(os.dup(1), 'w')
    warnings.filterwarnings('ignore', message='lancedb fork support')
    import lancedb  # noqa: F401  once, for all requests and forks

    import vpr_ros.map  # noqa: F401
    from vpr_ros.fleet import places

    places.BATCH = BATCH

    for line in sys.stdin:
        request = json.loads(line)
        try:
            found = {'answer': globals()[request['do']](**request['given'])}
        except BaseException:
            found = {'raised': traceback.format_exc()}
        out.write(ANSWERS + json.dumps(found) + '\n')
        out.flush()


if __name__ == '__main__':
    main()
