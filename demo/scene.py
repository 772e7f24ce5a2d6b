"""Draw a town with Blender's Cycles: the only module that knows the renderer.

Cycles on the processor needs no screen and no graphics card. Equal shapes share one mesh;
materials are made once per surface; all textures are computed by shader nodes, so the whole town
is this folder's text and no downloaded asset.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, radians
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

import furniture
import ground
import houses
from shapes import Shape, Surface
from world import Camera, Condition, House, Thing, World, clutter

FOG_TOP_M = 60.0  # how high the fog reaches above the camera


class Scene:
    """One town under one condition, ready to be photographed from any pose."""

    def __init__(
        self, world: World, condition: Condition, camera: Camera, *, samples: int, threads: int
    ) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self._condition = condition
        self._materials: dict[Surface, Any] = {}
        self._meshes: dict[object, Any] = {}
        self._scene = bpy.context.scene
        _set_up_cycles(self._scene, condition, samples=samples, threads=threads)
        self._camera = _add_camera(self._scene, camera)
        _add_sky(self._scene, condition)
        _add_sun(self._scene, condition)
        self._place('ground', lambda: ground.ground_shape(world.streets), 0.0, 0.0)
        self._place('markings', lambda: ground.markings_shape(world.streets), 0.0, 0.0)
        middle = world.look_alikes[0].second_xy
        self._place('hills', lambda: ground.hills_shape(middle), 0.0, 0.0)
        for house in world.houses:
            self._add_house(house)
        for thing in [*world.things, *clutter(world, condition)]:
            self._add_thing(thing)

    def photograph(self, map_T_camera: NDArray[np.float64], path: Path) -> None:
        """Write one picture from map_T_camera [4, 4] (x right, y down, z forward)."""
        blender_from_optical = np.diag(
            [1.0, -1.0, -1.0, 1.0]
        )  # Blender's camera looks along -z with y up
        self._camera.matrix_world = Matrix((map_T_camera @ blender_from_optical).tolist())
        self._scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)

    def set_up_camera(self, *, horizontal_fov_deg: float, exposure_stops: float) -> None:
        """Change the lens, and the exposure relative to the condition's."""
        self._camera.data.angle = radians(horizontal_fov_deg)
        self._scene.view_settings.exposure = self._condition.exposure_stops + exposure_stops

    def _place(
        self,
        key: object,
        make: Callable[[], Shape],
        x: float,
        y: float,
        *,
        z: float = 0.0,
        yaw: float = 0.0,
        size: float = 1.0,
    ) -> None:
        if key not in self._meshes:
            self._meshes[key] = self._mesh(make())
        item = bpy.data.objects.new('item', self._meshes[key])
        item.location, item.rotation_euler, item.scale = (x, y, z), (0.0, 0.0, yaw), (size,) * 3
        self._scene.collection.objects.link(item)

    def _mesh(self, shape: Shape) -> Any:
        mesh = bpy.data.meshes.new('mesh')
        mesh.from_pydata(shape.vertices, [], shape.polygons)
        kinds = list(dict.fromkeys(shape.surfaces))
        for surface in kinds:
            mesh.materials.append(self._material(surface))
        slot = {surface: k for k, surface in enumerate(kinds)}
        mesh.polygons.foreach_set('material_index', [slot[s] for s in shape.surfaces])
        layer = mesh.uv_layers.new(name='metres')
        layer.data.foreach_set(
            'uv', [c for polygon in shape.texture for uv in polygon for c in uv]
        )
        mesh.update()
        return mesh

    def _material(self, surface: Surface) -> Any:
        if surface not in self._materials:
            self._materials[surface] = make_material(surface, self._condition)
        return self._materials[surface]

    def _add_house(self, house: House) -> None:
        c = self._condition
        self._place(
            house,
            lambda: houses.house_shape(house, c.lit_windows, c.clutter_seed),
            house.x,
            house.y,
            z=0.12,
            yaw=house.yaw,
        )
        if house.ground == 'shop' and house.sign:
            self._write(
                house.sign, house, up_m=2.7, height_m=0.42, out_m=0.16, rgb=(0.75, 0.70, 0.55)
            )
        if house.ground == 'warehouse':
            self._write(
                'GRAIN & TIMBER',
                house,
                up_m=house.wall_height_m - 0.72,
                height_m=0.75,
                out_m=0.12,
                rgb=(0.05, 0.05, 0.06),
            )

    def _write(
        self,
        text: str,
        house: House,
        *,
        up_m: float,
        height_m: float,
        out_m: float,
        rgb: tuple[float, float, float],
    ) -> None:
        matrix = Matrix.Translation((house.x, house.y, 0.12)) @ Matrix.Rotation(house.yaw, 4, 'Z')
        matrix = matrix @ Matrix.Translation((0.0, -out_m, up_m)) @ Matrix.Rotation(pi / 2, 4, 'X')
        self._letters(text, matrix, height_m, rgb)

    def _letters(
        self, text: str, matrix: Matrix, height_m: float, rgb: tuple[float, float, float]
    ) -> None:
        curve = bpy.data.curves.new('text', 'FONT')
        curve.body, curve.align_x, curve.size, curve.extrude = text, 'CENTER', height_m, 0.015
        curve.materials.append(self._material(Surface('paint', rgb)))
        item = bpy.data.objects.new('text', curve)
        item.matrix_world = matrix
        self._scene.collection.objects.link(item)

    def _add_thing(self, thing: Thing) -> None:
        leaves, at = self._condition.leaf_share, (thing.x, thing.y)
        match thing.kind:
            case 'tree':
                self._place(
                    ('tree', thing.variant),
                    lambda: furniture.tree_shape(thing.variant, leaf_share=leaves),
                    *at,
                    z=0.1,
                    yaw=thing.yaw,
                    size=thing.size,
                )
            case 'bush':
                self._place(
                    'bush',
                    lambda: furniture.bush_shape(leaf_share=leaves),
                    *at,
                    z=0.1,
                    yaw=thing.yaw,
                    size=thing.size,
                )
            case 'hedge':
                self._place(
                    ('hedge', thing.size),
                    lambda: furniture.hedge_shape(thing.size, 1.25),
                    *at,
                    z=0.12,
                    yaw=thing.yaw,
                )
            case 'car' | 'van':
                self._place(
                    (thing.kind, thing.rgb),
                    lambda: furniture.car_shape(thing.rgb, van=thing.kind == 'van'),
                    *at,
                    yaw=thing.yaw,
                    size=thing.size,
                )
            case 'lamp':
                self._place('lamp', furniture.lamp_shape, *at, z=0.12, yaw=thing.yaw)
                if self._condition.lamp_watts > 0:
                    _add_street_light(self._scene, thing, self._condition.lamp_watts)
            case _:
                stretched = thing.kind in ('fence', 'tall_fence', 'low_wall', 'tall_wall')
                self._place(
                    (thing.kind, thing.size, thing.rgb, thing.variant),
                    lambda: furniture.thing_shape(thing),
                    *at,
                    z=0.12,
                    yaw=thing.yaw,
                    size=1.0 if stretched else thing.size,
                )
                if thing.kind == 'sign_name':
                    matrix = Matrix.Translation((*at, 0.12 + 2.19)) @ Matrix.Rotation(
                        thing.yaw, 4, 'Z'
                    )
                    for turn in (0.0, pi):
                        faced = (
                            matrix
                            @ Matrix.Rotation(turn, 4, 'Z')
                            @ Matrix.Translation((0.0, -0.035, 0.0))
                            @ Matrix.Rotation(pi / 2, 4, 'X')
                        )
                        self._letters(thing.text, faced, 0.26, (0.75, 0.75, 0.75))


def _set_up_cycles(scene: Any, condition: Condition, *, samples: int, threads: int) -> None:
    scene.render.engine = 'CYCLES'
    scene.cycles.device = 'CPU'
    scene.cycles.samples = samples
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.seed = 0
    scene.cycles.use_denoising = True
    scene.cycles.denoiser = 'OPENIMAGEDENOISE'
    scene.cycles.denoising_input_passes = 'RGB_ALBEDO_NORMAL'
    scene.cycles.denoising_prefilter = 'FAST'
    scene.cycles.max_bounces = 3
    scene.cycles.diffuse_bounces = 2
    scene.cycles.glossy_bounces = 2
    scene.cycles.transmission_bounces = 1
    scene.cycles.caustics_reflective = False
    scene.cycles.caustics_refractive = False
    scene.cycles.sample_clamp_indirect = 3.0
    scene.render.use_persistent_data = True
    scene.render.threads_mode, scene.render.threads = 'FIXED', threads
    scene.render.image_settings.file_format = 'PNG'
    scene.render.image_settings.color_mode = 'RGB'
    scene.view_settings.view_transform = 'AgX'
    scene.view_settings.look = 'AgX - High Contrast'
    scene.view_settings.exposure = condition.exposure_stops


def _add_camera(scene: Any, camera: Camera) -> Any:
    lens = bpy.data.cameras.new('camera')
    lens.sensor_fit, lens.angle = 'HORIZONTAL', radians(camera.horizontal_fov_deg)
    lens.clip_start, lens.clip_end = 0.05, 800.0
    item = bpy.data.objects.new('camera', lens)
    scene.collection.objects.link(item)
    scene.camera = item
    scene.render.resolution_x, scene.render.resolution_y = camera.width_px, camera.height_px
    scene.render.resolution_percentage = 100
    return item


class _Nodes:
    """A short way to say: a node of this type, these settings, these inputs."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        tree.nodes.clear()

    def add(self, kind: str, *, settings: dict[str, Any] | None = None, **inputs: Any) -> Any:
        node = self._tree.nodes.new(f'ShaderNode{kind}')
        for name, value in (settings or {}).items():
            setattr(node, name, value)
        for name, value in inputs.items():
            socket = node.inputs[int(name[1:]) if name[0] == '_' else name.replace('_', ' ')]
            if hasattr(value, 'is_output'):
                self._tree.links.new(value, socket)
            else:
                socket.default_value = value
        return node

    def math(self, operation: str, a: Any, b: Any = 0.0) -> Any:
        return self.add('Math', settings={'operation': operation}, _0=a, _1=b).outputs[0]

    def noise(self, where: Any, scale: float, detail: float = 2.0) -> Any:
        return self.add('TexNoise', Vector=where, Scale=scale, Detail=detail).outputs['Fac']

    def spread(
        self, value: Any, low: float, high: float, to_low: float = 0.0, to_high: float = 1.0
    ) -> Any:
        return self.add('MapRange', _0=value, _1=low, _2=high, _3=to_low, _4=to_high).outputs[0]

    def mix(self, share: Any, a: Any, b: Any) -> Any:
        node = self.add('Mix', settings={'data_type': 'RGBA'}, _0=share, _6=a, _7=b)
        return node.outputs[2]

    def scale(self, colour: Any, by: Any) -> Any:
        return self.add('VectorMath', settings={'operation': 'SCALE'}, _0=colour, _3=by).outputs[0]


def _add_sky(scene: Any, condition: Condition) -> None:
    world = bpy.data.worlds.new('sky')
    scene.world = world
    world.use_nodes = True
    n = _Nodes(world.node_tree)
    sky = n.add(
        'TexSky',
        settings={
            'sky_type': 'NISHITA',
            'sun_disc': False,
            'sun_elevation': radians(condition.sun_elevation_deg),
            'sun_rotation': radians(condition.sun_azimuth_deg),
            'dust_density': 2.0 if condition.sun_elevation_deg < 10 else 0.8,
            'ozone_density': 2.0,
        },
    )
    blue = n.scale(
        n.add(
            'Mix',
            settings={'data_type': 'RGBA', 'blend_type': 'MULTIPLY'},
            _0=1.0,
            _6=sky.outputs[0],
            _7=(*condition.sky_tint, 1.0),
        ).outputs[2],
        condition.sky_strength,
    )
    way = n.add('TexCoord').outputs['Generated']
    parts = n.add('SeparateXYZ', Vector=way)
    height = n.math('MAXIMUM', parts.outputs[2], 0.03)
    flat = n.add(
        'CombineXYZ',
        X=n.math('DIVIDE', parts.outputs[0], n.math('ADD', height, 0.12)),
        Y=n.math('DIVIDE', parts.outputs[1], n.math('ADD', height, 0.12)),
    )
    cloudy = n.noise(flat.outputs[0], 1.1, 7.0)
    edge = 0.68 - 0.34 * condition.cloud_cover
    share = n.math('MULTIPLY', n.spread(cloudy, edge, edge + 0.16), 0.85)
    share = n.math(
        'MULTIPLY',
        share,
        n.spread(parts.outputs[2], 0.0, 0.1, 0.35 + 0.6 * (condition.cloud_cover > 0.9), 1.0),
    )
    if condition.cloud_cover > 0.9:
        share = n.math('MAXIMUM', share, 0.9)
    brightness = (
        3.0 * condition.sky_strength
        if condition.sun_elevation_deg > 10
        else 1.6 * condition.sky_strength
    )
    shade = n.spread(
        n.noise(flat.outputs[0], 2.3, 5.0), 0.3, 0.7, 0.65 * brightness, 1.15 * brightness
    )
    cloud = n.scale((*condition.cloud_rgb,), shade)
    dome = n.mix(
        n.spread(parts.outputs[2], -0.02, 0.0), (0.02, 0.02, 0.02, 1.0), n.mix(share, blue, cloud)
    )
    if condition.fog_visibility_m > 0:
        path = n.math('DIVIDE', FOG_TOP_M, n.math('MAXIMUM', parts.outputs[2], 0.001))
        share = n.math('SUBTRACT', 1.0, _clear(n, path, condition))
        dome = n.mix(share, dome, _fog_colour(condition))
    n.add('OutputWorld', Surface=n.add('Background', Color=dome, Strength=1.0).outputs[0])


def _add_sun(scene: Any, condition: Condition) -> None:
    if condition.sun_strength <= 0:
        return
    light = bpy.data.lights.new('sun', 'SUN')
    light.energy, light.color, light.angle = (
        condition.sun_strength,
        condition.sun_rgb,
        radians(0.8),
    )
    item = bpy.data.objects.new('sun', light)
    # A sun lamp shines along its own -z; the azimuth runs clockwise from north (y), a turn about z
    # the other way.
    item.rotation_euler = (
        radians(90.0 - condition.sun_elevation_deg),
        0.0,
        radians(180.0 - condition.sun_azimuth_deg),
    )
    scene.collection.objects.link(item)


def _add_street_light(scene: Any, thing: Thing, watts: float) -> None:
    light = bpy.data.lights.new('street light', 'SPOT')
    light.energy, light.color = watts * 4, (1.0, 0.62, 0.28)
    light.spot_size, light.spot_blend, light.shadow_soft_size = radians(150), 0.6, 0.18
    item = bpy.data.objects.new('street light', light)
    item.matrix_world = (
        Matrix.Translation((thing.x, thing.y, 0.12))
        @ Matrix.Rotation(thing.yaw, 4, 'Z')
        @ Matrix.Translation((1.45, 0.0, 5.48))
    )
    scene.collection.objects.link(item)


def make_material(surface: Surface, condition: Condition) -> Any:
    """Return the material of a surface under a condition; every texture is computed."""
    material = bpy.data.materials.new(surface.kind)
    material.use_nodes = True
    n = _Nodes(material.node_tree)
    makers: dict[str, Callable[[_Nodes, Surface, Condition], Any]] = {
        'brick': _brick,
        'plaster': _plaster,
        'stone': _stone,
        'boards': _boards,
        'tiles': _tiles,
        'asphalt': _asphalt,
        'pavement': _pavement,
        'concrete': _concrete,
        'grass': _grass,
        'hill': _hill,
        'road_paint': _road_paint,
        'leaf': _leaf,
        'bark': _bark,
        'glass': _glass,
        'car_glass': _car_glass,
        'lit_glass': _lit_glass,
        'lamp': _lamp,
        'paint': _paint,
        'car_paint': _car_paint,
        'metal': _metal,
        'matt': _matt,
    }
    coat = makers[surface.kind](n, surface, condition)
    if condition.snow > 0:
        coat = _snowed(n, coat, condition.snow)
    if condition.fog_visibility_m > 0:
        coat = _fogged(n, coat, condition)
        material.cycles.emission_sampling = 'NONE'  # the fog is seen, it lights nothing
    n.add('OutputMaterial', Surface=coat)
    return material


def _fogged(n: _Nodes, coat: Any, condition: Condition) -> Any:
    """Let a surface fade into the fog with its distance from the camera (Koschmieder's law)."""
    distance = n.add('CameraData').outputs['View Distance']
    share = n.math('SUBTRACT', 1.0, _clear(n, distance, condition))
    share = n.math('MULTIPLY', share, n.add('LightPath').outputs['Is Camera Ray'])
    fog = n.add('Emission', Color=_fog_colour(condition), Strength=1.0).outputs[0]
    return n.add('MixShader', _0=share, _1=coat, _2=fog).outputs[0]


def _clear(n: _Nodes, distance_m: Any, condition: Condition) -> Any:
    """Return the share of light that crosses this distance; at the visibility it is 2 %."""
    thickness = n.math('MULTIPLY', distance_m, -3.912 / condition.fog_visibility_m)
    return n.math('EXPONENT', thickness)


def _fog_colour(condition: Condition) -> tuple[float, float, float, float]:
    r, g, b = (channel * 2.4 * condition.sky_strength for channel in condition.cloud_rgb)
    return r, g, b, 1.0


def _snowed(n: _Nodes, coat: Any, share: float) -> Any:
    """Lay snow on what faces the sky, in patches where the share is small."""
    up = n.add('SeparateXYZ', Vector=n.add('NewGeometry').outputs['Normal']).outputs[2]
    patch = n.spread(n.noise(_position(n), 0.5, 5.0), 0.62 - 0.4 * share, 0.7 - 0.4 * share)
    cover = n.math('MULTIPLY', n.spread(up, 0.3, 0.6), n.math('MULTIPLY', patch, share))
    white = _coat(n, (0.8, 0.82, 0.86, 1.0), 0.9)
    return n.add('MixShader', _0=cover, _1=coat, _2=white).outputs[0]


def _coat(n: _Nodes, colour: Any, roughness: Any = 0.8, metallic: float = 0.0) -> Any:
    return n.add(
        'BsdfPrincipled', Base_Color=colour, Roughness=roughness, Metallic=metallic
    ).outputs[0]


def _metres(n: _Nodes) -> Any:
    return n.add('UVMap').outputs[0]


def _position(n: _Nodes) -> Any:
    return n.add('NewGeometry').outputs['Position']


def _dirt(n: _Nodes) -> Any:
    """Return a factor near 1: stains in patches, and a darker foot of the wall."""
    where = _position(n)
    foot = n.spread(n.add('SeparateXYZ', Vector=where).outputs[2], 0.0, 1.3, 0.72, 1.0)
    return n.math('MULTIPLY', foot, n.spread(n.noise(where, 0.45, 5.0), 0.3, 0.7, 0.78, 1.12))


def _brick(n: _Nodes, s: Surface, c: Condition) -> Any:
    r, g, b = s.rgb
    bricks = n.add(
        'TexBrick',
        Vector=_metres(n),
        Scale=1.0,
        Color1=(r, g, b, 1.0),
        Color2=(r * 0.62, g * 0.6, b * 0.65, 1.0),
        Mortar=(0.36 + 0.2 * r, 0.33 + 0.2 * g, 0.30 + 0.2 * b, 1.0),
        Mortar_Size=0.010,
        Brick_Width=0.26,
        Row_Height=0.09,
        Bias=-0.15,
    )
    return _coat(n, n.scale(bricks.outputs[0], _dirt(n)), 0.9)


def _plaster(n: _Nodes, s: Surface, c: Condition) -> Any:
    fine = n.spread(n.noise(_position(n), 14.0, 4.0), 0.3, 0.7, 0.9, 1.06)
    return _coat(n, n.scale(s.rgb, n.math('MULTIPLY', fine, _dirt(n))), 0.9)


def _stone(n: _Nodes, s: Surface, c: Condition) -> Any:
    r, g, b = s.rgb
    blocks = n.add(
        'TexBrick',
        Vector=_metres(n),
        Scale=1.0,
        Color1=(r, g, b, 1.0),
        Color2=(r * 0.68, g * 0.68, b * 0.7, 1.0),
        Mortar=(r * 0.45, g * 0.45, b * 0.45, 1.0),
        Mortar_Size=0.014,
        Brick_Width=0.62,
        Row_Height=0.30,
        Bias=0.0,
    )
    grain = n.spread(n.noise(_position(n), 9.0, 5.0), 0.3, 0.7, 0.82, 1.12)
    return _coat(n, n.scale(blocks.outputs[0], n.math('MULTIPLY', grain, _dirt(n))), 0.9)


def _boards(n: _Nodes, s: Surface, c: Condition) -> Any:
    up = n.add('SeparateXYZ', Vector=_metres(n)).outputs[1]
    board = n.math('FRACT', n.math('DIVIDE', up, 0.19))
    shadow = n.spread(board, 0.0, 0.22, 0.45, 1.0)
    grain = n.spread(
        n.noise(n.add('Mapping', Vector=_metres(n), Scale=(0.7, 14.0, 1.0)).outputs[0], 3.0, 3.0),
        0.3,
        0.7,
        0.85,
        1.1,
    )
    return _coat(
        n, n.scale(s.rgb, n.math('MULTIPLY', shadow, n.math('MULTIPLY', grain, _dirt(n)))), 0.75
    )


def _tiles(n: _Nodes, s: Surface, c: Condition) -> Any:
    r, g, b = s.rgb
    tiles = n.add(
        'TexBrick',
        Vector=_metres(n),
        Scale=1.0,
        Color1=(r, g, b, 1.0),
        Color2=(r * 0.55, g * 0.58, b * 0.62, 1.0),
        Mortar=(r * 0.2, g * 0.2, b * 0.2, 1.0),
        Mortar_Size=0.018,
        Brick_Width=0.28,
        Row_Height=0.30,
        Bias=0.0,
    )
    moss = n.spread(n.noise(_position(n), 0.6, 5.0), 0.55, 0.75, 0.0, 0.5)
    return _coat(n, n.mix(moss, tiles.outputs[0], (0.09, 0.10, 0.05, 1.0)), 0.85 - 0.5 * c.wetness)


def _asphalt(n: _Nodes, s: Surface, c: Condition) -> Any:
    where = _position(n)
    grain = n.spread(n.noise(where, 24.0, 3.0), 0.3, 0.7, 0.045, 0.11)
    patch = n.spread(n.noise(where, 0.35, 4.0), 0.35, 0.65, 0.72, 1.2)
    warped = n.add(
        'VectorMath',
        settings={'operation': 'ADD'},
        _0=where,
        _1=n.add('TexNoise', Vector=where, Scale=0.8, Detail=3.0).outputs['Color'],
    ).outputs[0]
    crack = n.add(
        'TexVoronoi', settings={'feature': 'DISTANCE_TO_EDGE'}, Vector=warped, Scale=0.16
    ).outputs[0]
    worn = n.spread(crack, 0.0, 0.006, 0.35, 1.0)
    repair = n.spread(
        n.add(
            'TexVoronoi',
            Vector=n.add('Mapping', Vector=where, Scale=(0.12, 0.2, 1.0)).outputs[0],
            Scale=1.0,
        ).outputs['Color'],
        0.72,
        0.73,
        1.0,
        0.68,
    )
    grey = n.math('MULTIPLY', n.math('MULTIPLY', grain, patch), n.math('MULTIPLY', worn, repair))
    colour = n.scale((1.0, 0.97, 0.93), n.math('MULTIPLY', grey, 1.0 - 0.45 * c.wetness))
    puddle = n.spread(
        n.noise(where, 0.5, 3.0), 0.42, 0.58, 0.85 - 0.3 * c.wetness, 0.85 - 0.8 * c.wetness
    )
    return _coat(n, colour, puddle)


def _pavement(n: _Nodes, s: Surface, c: Condition) -> Any:
    slabs = n.add(
        'TexBrick',
        Vector=_position(n),
        Scale=1.0,
        Color1=(0.30, 0.285, 0.26, 1.0),
        Color2=(0.22, 0.21, 0.20, 1.0),
        Mortar=(0.08, 0.075, 0.07, 1.0),
        Mortar_Size=0.012,
        Brick_Width=0.6,
        Row_Height=0.6,
        Bias=0.0,
    )
    stain = n.spread(n.noise(_position(n), 0.8, 5.0), 0.3, 0.7, 0.78, 1.12)
    return _coat(
        n,
        n.scale(slabs.outputs[0], n.math('MULTIPLY', stain, 1.0 - 0.35 * c.wetness)),
        0.85 - 0.5 * c.wetness,
    )


def _concrete(n: _Nodes, s: Surface, c: Condition) -> Any:
    return _coat(
        n, n.scale(s.rgb, n.spread(n.noise(_position(n), 5.0, 5.0), 0.3, 0.7, 0.7, 1.1)), 0.85
    )


def _grass(n: _Nodes, s: Surface, c: Condition) -> Any:
    patches = n.mix(
        n.spread(n.noise(_position(n), 0.35, 4.0), 0.35, 0.65),
        (0.06, 0.11, 0.025, 1.0),
        (0.11, 0.14, 0.04, 1.0),
    )
    return _coat(
        n, n.scale(patches, n.spread(n.noise(_position(n), 9.0, 3.0), 0.3, 0.7, 0.6, 1.25)), 0.95
    )


def _hill(n: _Nodes, s: Surface, c: Condition) -> Any:
    woods = n.spread(n.noise(_position(n), 0.025, 6.0), 0.45, 0.55)
    return _coat(n, n.mix(woods, (0.13, 0.17, 0.10, 1.0), (0.07, 0.10, 0.07, 1.0)), 1.0)


def _road_paint(n: _Nodes, s: Surface, c: Condition) -> Any:
    worn = n.spread(n.noise(_position(n), 3.5, 6.0), 0.50, 0.62)
    return _coat(n, n.mix(worn, (0.62, 0.61, 0.57, 1.0), (0.10, 0.10, 0.095, 1.0)), 0.7)


def _leaf(n: _Nodes, s: Surface, c: Condition) -> Any:
    tree = n.add('ObjectInfo').outputs['Random']
    r, g, b = c.leaf_rgb
    own = n.mix(tree, (r * 0.75, g * 0.85, b * 0.9, 1.0), (r * 1.5, g * 1.2, b * 1.1, 1.0))
    colour = n.scale(own, n.spread(n.noise(_position(n), 2.5, 2.0), 0.3, 0.7, 0.65, 1.35))
    front, through = n.add('BsdfDiffuse', Color=colour), n.add('BsdfTranslucent', Color=colour)
    return n.add('MixShader', _0=0.35, _1=front.outputs[0], _2=through.outputs[0]).outputs[0]


def _bark(n: _Nodes, s: Surface, c: Condition) -> Any:
    return _coat(
        n, n.scale(s.rgb, n.spread(n.noise(_position(n), 12.0, 3.0), 0.3, 0.7, 0.6, 1.3)), 0.95
    )


def _glass(n: _Nodes, s: Surface, c: Condition) -> Any:
    room = n.scale(
        (0.05, 0.055, 0.065), n.spread(n.noise(_position(n), 0.9, 1.0), 0.35, 0.65, 0.3, 1.8)
    )
    return n.add(
        'BsdfPrincipled', Base_Color=room, Roughness=0.06, Specular_IOR_Level=0.9
    ).outputs[0]


def _car_glass(n: _Nodes, s: Surface, c: Condition) -> Any:
    return n.add(
        'BsdfPrincipled',
        Base_Color=(0.012, 0.014, 0.016, 1.0),
        Roughness=0.08,
        Specular_IOR_Level=0.8,
    ).outputs[0]


def _lit_glass(n: _Nodes, s: Surface, c: Condition) -> Any:
    curtain = n.noise(
        n.add('Mapping', Vector=_metres(n), Scale=(5.0, 0.6, 1.0)).outputs[0], 1.6, 2.0
    )
    room = n.noise(_position(n), 0.12, 0.0)
    strength = n.math(
        'MULTIPLY', n.spread(curtain, 0.3, 0.7, 0.35, 1.25), n.spread(room, 0.4, 0.6, 0.3, 0.75)
    )
    colour = n.mix(n.spread(room, 0.42, 0.58), (1.0, 0.42, 0.11, 1.0), (1.0, 0.62, 0.28, 1.0))
    return n.add('Emission', Color=colour, Strength=strength).outputs[0]


def _lamp(n: _Nodes, s: Surface, c: Condition) -> Any:
    if c.lamp_watts > 0:
        return n.add('Emission', Color=(1.0, 0.68, 0.34, 1.0), Strength=30.0).outputs[0]
    return _coat(n, (0.6, 0.6, 0.58, 1.0), 0.4)


def _paint(n: _Nodes, s: Surface, c: Condition) -> Any:
    return _coat(n, (*s.rgb, 1.0), 0.45)


def _car_paint(n: _Nodes, s: Surface, c: Condition) -> Any:
    return n.add(
        'BsdfPrincipled',
        Base_Color=(*s.rgb, 1.0),
        Roughness=0.35,
        Coat_Weight=0.8,
        Coat_Roughness=0.05,
    ).outputs[0]


def _metal(n: _Nodes, s: Surface, c: Condition) -> Any:
    return _coat(n, (*s.rgb, 1.0), 0.5, 0.6)


def _matt(n: _Nodes, s: Surface, c: Condition) -> Any:
    return _coat(n, (*s.rgb, 1.0), 0.9)
