"""What this computer's processor is and can do, as Linux tells it in /proc/cpuinfo."""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CPUINFO = Path('/proc/cpuinfo')

_DOT_PRODUCTS = {'avx512_vnni', 'avx_vnni', 'avx_vnni_int8', 'asimddp', 'i8mm'}


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor; of several cores what the system tells of the first."""

    name: str  # its board and the designs of its cores on ARM; the architecture where none is told
    abilities: frozenset[str]  # such as avx2 and asimd; empty where the system does not tell

    @property
    def multiplies_bytes_fast(self) -> bool:
        """Whether it adds up products of bytes without overflow (VNNI, ARM's dot product)."""
        return not _DOT_PRODUCTS.isdisjoint(self.abilities)


@cache
def this_processor() -> Processor:
    """The processor of this computer."""
    return read_processor(CPUINFO)


def read_processor(cpuinfo: Path) -> Processor:
    """A processor as a file like /proc/cpuinfo describes it, whether or not that can be read."""
    try:
        text = cpuinfo.read_text(encoding='utf-8', errors='replace')
    except OSError:
        text = ''
    told: dict[str, list[str]] = {}
    for line in text.splitlines():
        field, _, value = line.partition(':')
        told.setdefault(field.strip(), []).append(value.strip())
    # ARM's cores have numbers, not names: 0x41 is ARM Ltd, and its 0xd0b the Cortex-A76.
    cores = map('/'.join, zip(told.get('CPU implementer', ()), told.get('CPU part', ())))
    names = [*told.get('Model', ()), *told.get('model name', ()), *cores]
    abilities = told.get('flags') or told.get('Features') or ['']
    return Processor(
        ', '.join(dict.fromkeys(names)) or platform.machine(), frozenset(abilities[0].split())
    )
