"""YAML, JSON and ONNX files may come from anywhere: they are bounded, and lead nowhere else."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tiny_xfeat import matcher, network
from worlds import write_tiny_model

from vpr_ros.core.describing.model import CARD_NAME, Model, write_model
from vpr_ros.core.describing.onnx_file import needs, require_self_contained
from vpr_ros.core.documents import MOST_BYTES, parse_json, parse_yaml, read_bytes
from vpr_ros.core.errors import ConfigError, DocumentError, DriveError, ModelError, VprError
from vpr_ros.core.landmarks.xfeat import XFeatFeatures
from vpr_ros.drives import open_drive
from vpr_ros.drives.camera_info import CameraInfo
from vpr_ros.evaluating.setups import settings_of

LAUGHS = '\n'.join(
    ['a: &a [x, x, x, x, x, x, x, x, x]']
    + [f'{b}: &{b} [{", ".join([f"*{a}"] * 9)}]' for a, b in zip('abcdefghi', 'bcdefghij')]
)
ENDLESS = {
    'depth': '[' * 100_000,
    'aliases': LAUGHS,
    'itself': '&a [*a]',
    'digits': 'a: ' + '9' * 100_000,
    'sixties': 'a: ' + ':'.join('1' * 50_000),
    'size': '#' * (MOST_BYTES + 1),
}


@pytest.mark.parametrize('kind', ENDLESS)
def test_yaml_without_bounds_is_refused_soon(kind: str) -> None:
    started = time.monotonic()
    with pytest.raises(DocumentError):
        parse_yaml(ENDLESS[kind])
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    'text',
    ['[' * 100_000, '{"a":' * 100_000, '"' + '\\"' * 400_000, '9' * 100_000, ' ' * 2_000_000],
    ids=['lists', 'mappings', 'quotes', 'digits', 'size'],
)
def test_json_without_bounds_is_refused_soon(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(DocumentError):
        parse_json(text)
    assert time.monotonic() - started < 5


PLAIN = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_what_was_written_is_read(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    text = yaml.safe_dump(value)
    assert parse_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize('digits', ['9' * 250, f'0x{"f" * 248}', ':'.join(['59'] * 83)])
def test_a_whole_number_is_read_only_where_a_float_could_hold_it(digits: str) -> None:
    assert 1e140 < float(parse_yaml(digits)) < 1e300
    with pytest.raises(DocumentError, match=r'a number of 25\d digits, expected at most 250'):
        parse_yaml(digits + digits[-3:])
    if digits.isdigit():
        assert float(parse_json(digits)) > 1e249
        with pytest.raises(DocumentError, match='a number of 251 digits'):
            parse_json(digits + '9')


def test_a_calibration_with_an_infinite_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'camera.yaml').write_text('{image_width: .inf, image_height: 480}')
    with pytest.raises(DriveError, match=r'camera\.yaml: not a ROS camera calibration .*infinity'):
        CameraInfo.read(tmp_path / 'camera.yaml')


def test_an_alias_stands_for_what_it_names() -> None:
    assert parse_yaml('a: &a {x: 1}\nb: [*a, *a]') == {'a': {'x': 1}, 'b': [{'x': 1}, {'x': 1}]}


def test_every_reader_of_a_document_is_bounded(tmp_path: Path) -> None:
    text = 'a: ' + '[' * 50 + ']' * 50
    file = tmp_path / 'any.yaml'
    file.write_text(text)
    with pytest.raises(DriveError, match=r'any\.yaml: not a ROS camera .* more than 32'):
        CameraInfo.read(file)
    with pytest.raises(ConfigError, match=r'--set candidates=.*more than 32'):
        settings_of(['candidates=' + '[' * 50])
    (tmp_path / 'mounting.yaml').write_text(text)
    with pytest.raises(DriveError, match=r'mounting\.yaml: expected base_T_camera .*more than 32'):
        open_drive(tmp_path)


def test_the_trainers_reader_is_bounded_too(tmp_path: Path) -> None:
    pytest.importorskip('torch')
    from vpr_training.models.model_file import read_model_file

    (tmp_path / 'any.yaml').write_text('[' * 50)
    with pytest.raises(VprError, match=r'any\.yaml: cannot be read .* more than 32'):
        read_model_file(tmp_path / 'any.yaml')


@pytest.mark.timeout(20)
def test_a_document_that_is_too_large_is_refused_and_not_cut(tmp_path: Path) -> None:
    path = tmp_path / 'list.yaml'
    path.write_bytes(b'- 1\n' * (MOST_BYTES // 4))
    assert len(read_bytes(path)) == MOST_BYTES
    with path.open('ab') as file:
        file.write(b'\n')
    with pytest.raises(DocumentError, match='larger than'):
        read_bytes(path)


def test_a_document_that_never_ends_is_not_read(tmp_path: Path) -> None:
    (tmp_path / 'mounting.yaml').symlink_to('/dev/zero')
    with pytest.raises(DriveError, match='it is not a regular file'):
        open_drive(tmp_path)


# Model folders


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return write_tiny_model(tmp_path / 'tiny')


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('{"a": ' + '[' * 50, 'its lists and mappings are nested more than 32 deep'),
        (' ' * (MOST_BYTES + 1), 'it is larger than 1.0 MB'),
        ('{"a": "', 'not valid JSON'),
    ],
)
def test_a_card_without_bounds_is_refused(model: Model, text: str, said: str) -> None:
    (model.folder / CARD_NAME).write_text(text)
    with pytest.raises(ModelError, match=rf'card\.json: {said}'):
        Model.open(model.folder)


@pytest.mark.timeout(20)
@pytest.mark.parametrize('name', [CARD_NAME, 'model.onnx'])
def test_a_model_holds_files_and_no_links_or_pipes(model: Model, name: str) -> None:
    path = model.folder / name
    path.rename(model.folder.parent / 'elsewhere')
    for make, said in (
        (
            lambda: path.symlink_to('/dev/zero'),
            'it is a symbolic link, expected a file; copy the model',
        ),
        (lambda: path.symlink_to(model.folder.parent / 'elsewhere'), 'it is a symbolic link'),
        (lambda: os.mkfifo(path), 'it is not a regular file'),
    ):
        make()
        with pytest.raises(ModelError, match=f'{name}: {said}'):
            Model.open(model.folder)
        path.unlink()


def test_the_links_of_an_installed_workspace_are_followed(model: Model, tmp_path: Path) -> None:
    """As `colcon build --symlink-install` makes them."""
    source = tmp_path / 'source' / 'models' / 'tiny'
    source.parent.mkdir(parents=True)
    model.folder.rename(source)
    installed = tmp_path / 'share' / 'models' / 'tiny'
    installed.mkdir(parents=True)
    for file in source.iterdir():
        (installed / file.name).symlink_to(file)
    assert Model.open(installed).card.name == 'tiny'


# ONNX files


def external(graph: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """The same graph with a weight in another file."""
    weight = helper.make_tensor('far', TensorProto.FLOAT, [1], [0.0])
    weight.ClearField('float_data')
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = 'location', location
    graph.graph.initializer.append(weight)
    return graph


def in_a_subgraph(graph: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """A weight in another file, of a branch of a branch."""
    inner = external(onnx.ModelProto(), location).graph
    for depth in range(3):
        node = helper.make_node('If', [], [], name=f'{depth}', then_branch=inner)
        inner = helper.make_graph([node], f'{depth}', [], [])
    graph.graph.node.extend(inner.node)
    return graph


def in_a_constant(graph: onnx.ModelProto, location: str) -> onnx.ModelProto:
    weight = external(onnx.ModelProto(), location).graph.initializer[0]
    graph.graph.node.append(helper.make_node('Constant', [], ['c'], value=weight))
    return graph


def of_a_domain(graph: onnx.ModelProto, domain: str) -> onnx.ModelProto:
    graph.graph.node.append(helper.make_node('Steal', [], ['s'], domain=domain))
    return graph


def compiled(graph: onnx.ModelProto, path: str) -> onnx.ModelProto:
    node = helper.make_node(
        'EPContext', [], ['s'], domain='com.microsoft', embed_mode=0, ep_cache_context=path
    )
    graph.graph.node.append(node)
    return graph


EVIL = [
    (external, '../../secret', r"weights are in the file '\.\./\.\./secret'"),
    (external, '/etc/passwd', "weights are in the file '/etc/passwd'"),
    (external, 'weights.bin', r"weights are in the file 'weights\.bin'"),
    (in_a_subgraph, 'weights.bin', r"weights are in the file 'weights\.bin'"),
    (in_a_constant, 'weights.bin', r"weights are in the file 'weights\.bin'"),
    (of_a_domain, 'evil.ops', r"operators are of the domain 'evil\.ops'"),
    (compiled, '../engine.bin', 'operator EPContext loads a compiled file'),
]


@pytest.mark.parametrize(('change', 'value', 'said'), EVIL)
def test_a_graph_that_loads_or_needs_anything_else_is_refused(
    model: Model, tmp_path: Path, change: object, value: str, said: str
) -> None:
    graph = change(onnx.load(model.graph), value).SerializeToString()
    with pytest.raises(ModelError, match=rf'model\.onnx: its {said}'):
        write_model(tmp_path / 'evil', graph, model.card)
    # The same folder, made by somebody else.
    model.graph.write_bytes(graph)
    card = json.loads((model.folder / CARD_NAME).read_text())
    digest = hashlib.sha256(graph).hexdigest()
    (model.folder / CARD_NAME).write_text(json.dumps(card | {'sha256': digest}))
    with pytest.raises(ModelError, match=rf'model\.onnx: its {said}'):
        Model.open(model.folder)
    with pytest.raises(ModelError, match=rf'xfeat\.onnx: its {said}'):
        XFeatFeatures({'xfeat.onnx': graph})


def ways_to(kind: str, message: Any, seen: frozenset = frozenset()) -> Iterator[tuple[Any, ...]]:
    """The fields that lead from a message of ONNX to one of a kind, none of them twice."""
    for field in message.fields:
        if field.message_type is None or field.full_name in seen:
            continue
        if field.message_type.name == kind:
            yield (field,)
        for rest in ways_to(kind, field.message_type, seen | {field.full_name}):
            yield field, *rest


def at_the_end_of(way: tuple[Any, ...]) -> tuple[onnx.ModelProto, Any]:
    """A file with one message where a way leads, and that message."""
    graph = message = onnx.ModelProto()
    for field in way:
        held = getattr(message, field.name)
        message = held.add() if hasattr(held, 'add') else held
        message.SetInParent()
    return graph, message


def test_wherever_onnx_has_room_for_weights_and_operators_foreign_ones_are_found() -> None:
    places = {
        kind: {(way[-1].full_name, *(one.full_name for one in way[:2])): way
               for way in ways_to(kind, onnx.ModelProto.DESCRIPTOR)}
        for kind in ('TensorProto', 'NodeProto')
    }  # fmt: skip
    assert len(places['TensorProto']) > 10 and len(places['NodeProto']) > 4
    for way in places['TensorProto'].values():
        graph, tensor = at_the_end_of(way)
        tensor.data_location = TensorProto.DEFAULT
        require_self_contained(graph.SerializeToString(), source='graph')
        tensor.data_location = TensorProto.EXTERNAL
        with pytest.raises(ModelError, match="weights are in the file ''"):
            require_self_contained(graph.SerializeToString(), source='graph')
        tensor.ClearField('data_location')
        tensor.external_data.add(key='location', value='/etc/passwd')
        with pytest.raises(ModelError, match="weights are in the file '/etc/passwd'"):
            require_self_contained(graph.SerializeToString(), source='graph')
    for way in places['NodeProto'].values():
        graph, node = at_the_end_of(way)
        node.domain, node.op_type = 'evil', 'Steal'
        with pytest.raises(ModelError, match="domain 'evil'"):
            require_self_contained(graph.SerializeToString(), source='graph')
        node.domain, node.op_type = '', 'EPContext'
        with pytest.raises(ModelError, match='EPContext loads a compiled file'):
            require_self_contained(graph.SerializeToString(), source='graph')


def test_a_graph_that_is_cut_is_told_before_it_is_run(model: Model) -> None:
    graph = model.graph.read_bytes()
    for end in (len(graph) // 2, len(graph) - 1):
        with pytest.raises(ModelError, match=r'not an ONNX file \(a field of .* beyond the end'):
            require_self_contained(graph[:end], source='graph')


@pytest.mark.parametrize(
    'content',
    [
        b'\x88',
        b'\x08',
        b'\x08' + b'\xff' * 10,
        b'\x08' + b'\x80' * 10 + b'\0',
        b'\x0b\x0c',
        b'\x0d\0\0\0',
    ],
    ids=['half a tag', 'no value', 'no end', 'eleven bytes', 'a group', 'three of four bytes'],
)
def test_what_is_no_message_of_protobuf_is_no_graph(content: bytes) -> None:
    with pytest.raises(ModelError, match=r'^graph: not an ONNX file'):
        require_self_contained(content, source='graph')


def test_a_graph_of_endless_branches_is_refused() -> None:
    """Each level is a graph (1) of a node (5) of an attribute (6), by the wire format."""

    def held(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2]) + encode_varint(len(content)) + content

    content = b''
    for _ in range(3000):
        content = held(1, held(5, held(6, content)))
    with pytest.raises(ModelError, match='nested too deeply'):
        require_self_contained(held(7, content), source='graph')


def encode_varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + encode_varint(rest) if rest else bytes([low])


def test_functions_that_a_file_brings_itself_are_its_own(model: Model) -> None:
    graph = of_a_domain(onnx.load(model.graph), 'mine')
    made = helper.make_function(
        'mine', 'Steal', [], ['y'], [helper.make_node('Constant', [], ['y'], value_float=1.0)],
        [helper.make_opsetid('', 17)],
    )  # fmt: skip
    graph.functions.append(made)
    require_self_contained(graph.SerializeToString(), source='graph')
    made.node[0].domain = 'evil'
    graph.functions[0].CopyFrom(made)
    with pytest.raises(ModelError, match="'evil'"):
        require_self_contained(graph.SerializeToString(), source='graph')


def test_the_time_to_look_into_a_graph_grows_with_its_size_alone() -> None:
    weights = TensorProto(name='w', data_type=TensorProto.FLOAT, dims=[1])
    for _ in range(20_000):  # each was a reason to go through all of them again
        weights.external_data.add()
    graph = onnx.ModelProto(graph=onnx.GraphProto(initializer=[weights])).SerializeToString()
    begun_s = time.monotonic()
    with pytest.raises(ModelError, match="weights are in the file ''"):
        require_self_contained(graph, source='graph')
    assert time.monotonic() - begun_s < 10


def test_files_that_lie_beside_a_third_party_graph_may_be_named() -> None:
    graph = external(onnx.ModelProto(), 'weights.bin').SerializeToString()
    require_self_contained(graph, source='graph', allowed_files={'weights.bin'})


def test_the_graphs_of_this_project_need_nothing() -> None:
    for graph in (network(), matcher()):
        found = needs(graph, source='graph')
        assert (found.files, found.domains, found.compiled) == (set(), {''}, set())


@given(st.data())
def test_any_bytes_are_read_or_refused(data: st.DataObject) -> None:
    graph = bytearray(network()[-3000:])
    for at in data.draw(st.lists(st.integers(0, len(graph) - 1), max_size=8)):
        graph[at] = data.draw(st.integers(0, 255))
    try:
        needs(bytes(graph), source='graph')
    except ModelError as error:
        assert 'not an ONNX file' in str(error)


def test_a_key_that_is_there_twice_is_refused_with_its_lines() -> None:
    with pytest.raises(DocumentError, match='lens is there twice, in lines 1 and 3'):
        parse_yaml('lens: wide\nsize: 3\nlens: narrow\n')
    with pytest.raises(DocumentError, match=r'lens is there twice, in line 1$'):
        parse_yaml('camera: {lens: wide, lens: narrow}')
    assert parse_yaml('base: &b {a: 1}\nmade: {<<: *b, a: 2}') == {
        'base': {'a': 1},
        'made': {'a': 2},
    }
    merged = 'base: &b {a: 0}\ninner: {made: &m {<<: *b,\n  a: 1}}\nouter: {<<: *m}'
    assert parse_yaml(merged) == yaml.safe_load(merged)
