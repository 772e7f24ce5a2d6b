"""The site is built without a warning, and works in a real browser: from disk, without network."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_report_page import browse, needs_browser

PYTHON = Path(sys.prefix) / 'docs' / 'bin' / 'python'

needs_mkdocs = pytest.mark.skipif(not PYTHON.exists(), reason='needs MkDocs (make setup-docs)')


def build(config: Path, output: Path) -> 'subprocess.CompletedProcess[str]':
    return subprocess.run(
        [
            *(str(PYTHON), '-m', 'mkdocs', 'build', '--strict'),
            *('--config-file', str(config), '--site-dir', str(output)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {'NO_MKDOCS_2_WARNING': '1'},
    )


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('site') / 'site'
    done = build(ROOT / 'mkdocs.yml', folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@needs_mkdocs
def test_nothing_on_the_site_comes_from_another_host(site: Path) -> None:
    pages = list(site.rglob('*.html'))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding='utf-8')
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\bsrc="?([^\s">]+)', text)
        loaded += re.findall(r'<link[^>]*\bhref="?([^\s">]+)', text)
        assert [one for one in loaded if re.match(r'\w+://|//', one)] == [], page


@needs_mkdocs
def test_files_that_pages_link_to_are_on_the_site(site: Path) -> None:
    copy = site / 'files' / 'config' / 'localize.yaml'
    assert copy.read_bytes() == (ROOT / 'config' / 'localize.yaml').read_bytes()
    assert 'href="../files/config/localize.yaml"' in (
        site / 'reference' / 'parameters.html'
    ).read_text(encoding='utf-8')
    contributing = (site / 'project' / 'contributing.html').read_text(encoding='utf-8')
    assert 'href="../explanation/architecture.html#where-things-are"' in contributing


@needs_mkdocs
def test_dead_links_and_lost_lists_end_the_build(tmp_path: Path) -> None:
    for name in ('mkdocs.yml', 'LICENSE', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md'):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / 'tools').mkdir()
    shutil.copy(ROOT / 'tools' / 'site_hooks.py', tmp_path / 'tools')
    for name in ('docs', 'docker', 'config', 'launch'):
        shutil.copytree(ROOT / name, tmp_path / name)
    page = tmp_path / 'docs' / 'glossary.md'
    faults = '[a](gone.md)\n\n[a](index.md#gone)\n\nSome words:\n- one\n- two\n'
    page.write_text(f'{page.read_text()}\n\n{faults}')
    done = build(tmp_path / 'mkdocs.yml', tmp_path / 'site')
    assert done.returncode != 0
    for said in ("'gone.md'", "'#gone'", 'a list or table without an empty line before it'):
        assert said in done.stdout + done.stderr


PHONE_PX = 375
TRIAL = """
<script>
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const tell = async () => {
    await wait(3000);
    const scheme = () => document.body.getAttribute('data-md-color-scheme');
    const schemes = [scheme()];
    for (const toggle of ['__palette_1', '__palette_0']) {
      document.querySelector(`label[for=${toggle}]`).click();
      await wait(200);
      schemes.push(scheme());
    }
    const found = [...document.querySelectorAll('a.md-search-result__link')];
    const page = document.documentElement;
    parent.postMessage({
      url: location.href, schemes, found: found.map((link) => link.href),
      wide: page.scrollWidth, shown: page.clientWidth,
    }, '*');
  };
  addEventListener('load', tell);
</script>
</body>"""
FRAMES = """
<title>nothing</title>
<body>
<script>
  const told = [];
  addEventListener('message', ({ data }) => {
    if (data && data.schemes) { told.push(data); document.title = JSON.stringify(told); }
  });
</script>
%s
</body>"""
PAGES = (
    'index.html', 'troubleshooting.html', 'reference/topics.html', 'reference/parameters.html',
    'reference/commands.html',
)  # fmt: skip
SOUGHT = {
    'max_false_fix_rate': 'reference/parameters.html',
    'false fixes': 'troubleshooting.html',
    'the image shows nothing': 'troubleshooting.html',
}


@pytest.fixture(scope='module')
def told(site: Path) -> list[dict[str, Any]]:
    """What pages say of themselves, each in a frame as wide as a phone, all in one browser."""
    results = sorted((site / 'results').glob('*.html'), key=lambda page: page.stat().st_size)
    frames = []
    for page in [*(site / name for name in PAGES), *results[-2:]]:  # with the widest tables
        trial = page.with_name(f'{page.stem}-trial.html')
        trial.write_text(page.read_text(encoding='utf-8').replace('</body>', TRIAL))
        frames.append(str(trial.relative_to(site)))
    frames += [f'index-trial.html?q={words.replace(" ", "%20")}' for words in SOUGHT]
    iframes = [f'<iframe src="{one}" width="{PHONE_PX}" height="700"></iframe>' for one in frames]
    (site / 'page.html').write_text(FRAMES % '\n'.join(iframes))
    dumped = browse(site, '--dump-dom', '--virtual-time-budget=8000')
    title = re.search(r'<title>(.*?)</title>', dumped)
    assert title is not None and title[1] != 'nothing'
    said: list[dict[str, Any]] = json.loads(html.unescape(title[1]))
    assert len(said) == len(frames)
    return said


@needs_mkdocs
@needs_browser
@pytest.mark.parametrize('words', SOUGHT)
def test_the_search_finds(told: list[dict[str, Any]], words: str) -> None:
    asked = next(one for one in told if one['url'].endswith(f'?q={words.replace(" ", "%20")}'))
    first = [link.partition('?')[0] for link in asked['found'][:3]]
    assert any(link.endswith(f'/{SOUGHT[words]}') for link in first), asked['found'][:5]


@needs_mkdocs
@needs_browser
def test_the_dark_mode_can_be_switched_on_and_off(told: list[dict[str, Any]]) -> None:
    for one in told:
        first, second, third = one['schemes']
        assert {first, second, third} == {'default', 'slate'} and second != third, one['url']


@needs_mkdocs
@needs_browser
def test_no_page_is_wider_than_a_phone(told: list[dict[str, Any]]) -> None:
    assert {one['url']: one['wide'] for one in told if one['wide'] > one['shown']} == {}
