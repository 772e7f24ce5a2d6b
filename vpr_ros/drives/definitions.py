"""Which definitions of messages are used: the bag's own, or the standard ones.

A bag may define standard types not at all, by an empty text, or in another way, and one custom
type may stop rosbags. So standard types are known without the bag's definitions, and there are
readers that do not look at these.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_typestore

from vpr_ros.drives.bounds import LEFT_OUT, BoundedDb3, BoundedFolder, BoundedRos1, BoundedRos2

STANDARD = get_typestore(Stores.LATEST)
"""The standard types, as ROS 2 has them."""

_NO_FIELDS = {'structure_needs_at_least_one_member'}  # what a definition without a word has


def complete_types(reader: AnyReader) -> None:
    """Let standard types be known that the bag defines not at all, or by an empty text.

    A definition without a word parses, as a message without fields.
    """
    own = {name for name, (_, fields) in reader.typestore.fielddefs.items() if _says(fields)}
    standard = {name for name, (_, fields) in STANDARD.fielddefs.items() if _says(fields)}
    named = {entry.msgtype for entry in reader.connections} | reader.typestore.fielddefs.keys()
    if not (named & standard) - own:
        return
    kept = {
        name: found
        for name, found in reader.typestore.fielddefs.items()
        if name in own or name not in standard
    }
    store = get_typestore(Stores.EMPTY)
    store.register({**STANDARD.fielddefs, **kept})
    reader.typestore = store


def lacking(kind: str, own: Mapping[str, Any]) -> str:
    """A field of a standard type that the bag's definition lacks, also of nested types; or ''."""
    if kind not in STANDARD.fielddefs:
        return ''
    there = {name.lower() for name, _ in own[kind][1]} if kind in own else set()  # ROS 1: K, D
    for name, description in STANDARD.fielddefs[kind][1]:
        if name not in there:
            return name
        for inner in _types_in(description):
            if lack := lacking(inner, own):
                return f'{name}.{lack}'
    return ''


def _types_in(description: Any) -> list[str]:
    """The message types that a field's description names."""
    if isinstance(description, tuple):
        return [name for part in description for name in _types_in(part)]
    return [description] if isinstance(description, str) and '/msg/' in description else []


def _says(fields: Sequence[tuple[str, Any]]) -> bool:
    return bool({name for name, _ in fields} - _NO_FIELDS)


class _Sqlite3(BoundedDb3):
    """An sqlite3 file whose definitions are not looked at.

    rosbag2 writes encodings that rosbags refuses where it did not find a definition.
    """

    def _open(self) -> None:
        assert self.dbconn is not None
        cursor = self.dbconn.cursor()
        self.connections = [
            Connection(
                number,
                topic,
                msgtype,
                LEFT_OUT,
                '',
                count,
                ConnectionExtRosbag2(encoding, parse_qos(profiles)),
                self,
            )
            for number, topic, msgtype, count, encoding, profiles in cursor.execute(
                'SELECT topics.id, name, type, count(messages.id), serialization_format, '
                'offered_qos_profiles FROM topics LEFT JOIN messages '
                'ON topics.id == messages.topic_id GROUP BY topics.id ORDER BY topics.id'
            )
        ]
        first_ns, last_ns, count = next(
            cursor.execute('SELECT MIN(timestamp), MAX(timestamp), COUNT(*) FROM messages')
        )
        if count:
            self.metadata = self.metadata._replace(
                duration=last_ns - first_ns + 1,
                start_time=first_ns,
                end_time=last_ns + 1,
                message_count=count,
            )


def _without_definition(entry: Connection) -> Connection:
    return entry._replace(msgdef=LEFT_OUT, digest='')


class _Folder(BoundedFolder):
    """A folder whose sqlite3 files are read so."""

    STORAGE_PLUGINS = MappingProxyType({**BoundedFolder.STORAGE_PLUGINS, 'sqlite3': _Sqlite3})


class StandardRos2(BoundedRos2):
    """A ROS 2 reader that ignores the bag's own definitions, as the standard ones never change."""

    STORAGE_PLUGINS = MappingProxyType(
        {**BoundedRos2.STORAGE_PLUGINS, 'dir': _Folder, '.db3': _Sqlite3}
    )
    kept = staticmethod(_without_definition)


class StandardRos1(BoundedRos1):
    """The same for ROS 1."""

    kept = staticmethod(_without_definition)
