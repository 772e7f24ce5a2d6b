"""Which links of the Markdown pages lead nowhere.

Only what lies in this tree is looked at: files, folders and headings. Pages elsewhere are not
asked, because a test must not depend on other people's machines.
"""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

_CODE = re.compile(r'^(```|~~~).*?^\1', re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r'(`+)(?!`).+?(?<!`)\1(?!`)', re.DOTALL)
_COMMENT = re.compile(r'<!--.*?-->', re.DOTALL)
_LINKS = (
    re.compile(r'\]\(\s*<?([^)<>\s]*)>?(?:\s+"[^"]*")?\s*\)'),  # [text](target "title")
    re.compile(r'^\s{0,3}\[[^\]]+\]:\s*<?([^\s>]+)', re.MULTILINE),  # [label]: target
    re.compile(r'<(?:a|img)\b[^>]*\b(?:href|src)="([^"]*)"'),
)
_HEADING = re.compile(r'^\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$', re.MULTILINE)
_NAMED = re.compile(r'<[^>]*\b(?:id|name)="([^"]+)"')
_ELSEWHERE = re.compile(r'[a-z][a-z0-9+.-]*:|//', re.IGNORECASE)


def dead_links(page: Path, root: Path) -> Iterator[str]:
    """Tell each link of a page that leads to no file in `root`, or to no heading of a page."""
    text = _without_code(page.read_text(encoding='utf-8'))
    for target in sorted({found for kind in _LINKS for found in kind.findall(text)}):
        if _ELSEWHERE.match(target):
            continue
        name, _, anchor = target.partition('#')
        file = (page.parent / name).resolve() if name else page
        where = f'{page.relative_to(root)}: ({target})'
        if root not in (file, *file.parents):
            yield f'{where} leads out of the tree'
        elif not file.exists():
            yield f'{where}: no such file'
        elif anchor and (file.suffix != '.md' or anchor not in anchors(file)):
            yield f'{where}: no such heading'


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them of its headings."""
    text = _COMMENT.sub('', _CODE.sub('', page.read_text(encoding='utf-8')))
    found = set(_NAMED.findall(text))
    for heading in _HEADING.findall(text):
        slug = _slug(heading)
        number = 0
        while (numbered := f'{slug}-{number}' if number else slug) in found:
            number += 1
        found.add(numbered)
    return found


def _slug(heading: str) -> str:
    plain = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', heading).lower()
    kept = (
        letter for letter in plain if letter in ' -_' or unicodedata.category(letter)[0] in 'LN'
    )
    return ''.join(kept).replace(' ', '-')


def _without_code(text: str) -> str:
    return _INLINE_CODE.sub('', _COMMENT.sub('', _CODE.sub('', text)))
