"""What mkdocs.yml adds to MkDocs, so that pages read the same in the repository and on the site.

Pages link as files of the repository do. The site has only docs/, so links that lead out of it
are led on: to pages that the site takes in from elsewhere, or to copies of files. A list that
Markdown of the site reads as plain text, and that of GitHub as a list, is a warning, and with
`strict` the end of the build.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
TAKEN_IN = {  # file of the repository -> page of the site
    'CHANGELOG.md': 'project/changelog.md',
    'CONTRIBUTING.md': 'project/contributing.md',
    'SECURITY.md': 'project/security.md',
    'docker/README.md': 'how-to/containers.md',
}
STANDS_FOR = {'README.md': 'index.md'}  # its site is the page that says the same here
COPIES = 'files'  # where all other files go that a page links to

_LOG = logging.getLogger('mkdocs.hooks.site')
_CODE = re.compile(r'(^(?:```|~~~).*?^(?:```|~~~)|(?<!`)(`+)(?!`).+?(?<!`)\2(?!`))', re.M | re.S)
_LINK = re.compile(r'(\]\(\s*<?)([^)<>\s#]+)(#[^)<>\s]*)?(?=[)>\s])')
_ELSEWHERE = re.compile(r'[a-z][a-z0-9+.-]*:|//|/', re.IGNORECASE)
_LOST_LIST = re.compile(r'<p>[^<]*\n(?:[-*] |\d+\. |\|)')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let `*` in nav stand for the pages that are not named; leave out what is missing."""
    named = set(_pages_of(config.nav))
    config.nav = _expanded(config.nav, named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in the pages from elsewhere, and the files that any page links to."""
    for source, uri in TAKEN_IN.items():
        files.append(_outsider(config, uri, source))
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for target in _links(page.content_string):
            source = _in_repository(_origin(page.src_uri), target)
            if _is_copied(source) and files.get_file_from_path(f'{COPIES}/{source}') is None:
                copy = _outsider(config, f'{COPIES}/{source}', source)
                files.append(copy)
                waiting += [copy] if copy.is_documentation_page() else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links that go out of docs/ to where their goals are on the site."""
    origin = _origin(page.file.src_uri)
    here = posixpath.dirname(page.file.src_uri)

    def led(found: re.Match[str]) -> str:
        before, target, anchor = found.groups()
        uri = None if _ELSEWHERE.match(target) else _on_site(_in_repository(origin, target))
        target = target if uri is None else posixpath.relpath(uri, here or '.')
        return f'{before}{target}{anchor or ""}'

    parts = _CODE.split(markdown)  # text, code, its fence, text, ...
    parts[::3] = [_LINK.sub(led, text) for text in parts[::3]]
    del parts[2::3]
    return ''.join(parts)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Warn of lists and tables that were taken for text."""
    if found := _LOST_LIST.search(html):
        _LOG.warning(
            "%s: a list or table without an empty line before it: '%s'",
            page.file.src_uri,
            ' '.join(found[0].split()),
        )
    return html


def _expanded(nav: Any, named: set[str]) -> Any:
    if not isinstance(nav, list):
        return nav
    entries: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith('*'):
            found = sorted(p.relative_to(ROOT / 'docs').as_posix() for p in _folder(entry))
            entries += [_titled(path) for path in found if path not in named]
        elif isinstance(entry, dict):
            inner = {title: _expanded(what, named) for title, what in entry.items()}
            entries += [inner] if all(inner.values()) else []
        elif (ROOT / 'docs' / entry).is_file():
            entries.append(entry)
    return entries


def _titled(path: str) -> str | dict[str, str]:
    """A page, with its number before its title where its file has one, as decisions have."""
    number, _, rest = posixpath.basename(path).partition('-')
    if not (number.isdigit() and rest):
        return path
    first = (ROOT / 'docs' / path).read_text(encoding='utf-8').partition('\n')[0]
    return {f'{number} {first.removeprefix("# ").removeprefix(f"{number}: ")}': path}


def _folder(pattern: str) -> list[Path]:
    return list((ROOT / 'docs').glob(f'{pattern}.md'))


def _pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [page for one in inner for page in _pages_of(one)]


def _links(markdown: str) -> list[str]:
    """What a page links to in the repository, without anchors."""
    text = ''.join(_CODE.split(markdown)[::3])
    return [found[2] for found in _LINK.finditer(text) if not _ELSEWHERE.match(found[2])]


def _origin(uri: str) -> str:
    """Where a page of the site lies in the repository."""
    if uri.startswith(f'{COPIES}/'):
        return uri.removeprefix(f'{COPIES}/')
    return {taken: source for source, taken in TAKEN_IN.items()}.get(uri, f'docs/{uri}')


def _in_repository(origin: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))


def _on_site(source: str) -> str | None:
    """The page or copy that a file of the repository is on the site; None: it has none."""
    if found := TAKEN_IN.get(source) or STANDS_FOR.get(source):
        return found
    if source.startswith('docs/'):
        return source.removeprefix('docs/')
    return f'{COPIES}/{source}' if _is_copied(source) else None


def _is_copied(source: str) -> bool:
    outside = not source.startswith(('docs/', '../')) and source not in STANDS_FOR
    return outside and source not in TAKEN_IN and (ROOT / source).is_file()


def _outsider(config: MkDocsConfig, uri: str, source: str) -> File:
    made = File.generated(config, uri, abs_src_path=str(ROOT / source))
    if uri.startswith(f'{COPIES}/'):
        made.inclusion = InclusionLevel.NOT_IN_NAV
    return made
