"""Where a fleet's store is, without any secret.

Credentials are the engine's own business: it takes them from its environment. An address is
printed and kept in logs, so that one with a password in it is refused. What the engine says in an
error is cleaned before it is shown, because a message may repeat what the engine was given.
"""

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from vpr_ros.core.errors import FleetError

SCHEMES = ('s3', 'gs', 'az')
"""Of object storage."""

_HIDDEN = '***'
_SECRET_NAME = re.compile(r'SECRET|TOKEN|PASSW|KEY|CREDENTIAL|SIGNATURE|SAS|CONNECTION', re.I)
_SHORTEST_SECRET = 8  # shorter values of such variables are words such as `true`
_USER = re.compile(r'(?<=://)[^/\s]*@')
_QUERY = re.compile(r'(?<=\S)\?[^\s\'"]+')
_SCHEME = re.compile(r'[A-Za-z][A-Za-z0-9+.-]*://')
_ONE_SLASH = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*):/(?!/)')


def checked_address(text: str) -> str:
    """The address of a store as it was given.

    Raises FleetError for a scheme that is not known or has one slash, and for an address with a
    user, a password or a query in it. The message does not repeat them.
    """
    if not text.strip() or '\0' in text:
        raise FleetError('--fleet: an empty address, expected a folder or s3://bucket/fleet')
    if not has_scheme(text):
        if found := _ONE_SLASH.match(text):
            raise FleetError(
                f'{found[1]}:/...: neither a folder nor a kind of store; write '
                f'{SCHEMES[0]}://bucket/fleet for object storage, and ./ before such a name of a '
                'folder'
            )
        return text  # a folder; any other name is one
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise FleetError(
            f'{parts.scheme}://...: not a known kind of store, expected a folder or one of '
            f'{", ".join(f"{scheme}://" for scheme in SCHEMES)}'
        )
    if '@' in parts.netloc or parts.query or parts.fragment:
        shown = f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}'
        raise FleetError(
            f'{shown}: the address contains a user, a password or a query, and logs would '
            'show them; give credentials in environment variables such as '
            'AWS_ACCESS_KEY_ID'
        )
    return text


def has_scheme(text: str) -> bool:
    """Whether an address is another kind of store than a folder."""
    return bool(_SCHEME.match(text))


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A message on one line, without users, queries, and values of secret environment variables.

    environment: the process' own, where it is not given.
    """
    given = os.environ if environment is None else environment
    secrets = [
        value
        for name, value in given.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET
    ]
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, _HIDDEN)
    text = _QUERY.sub(f'?{_HIDDEN}', _USER.sub(f'{_HIDDEN}@', text))
    return ' '.join(text.split())
