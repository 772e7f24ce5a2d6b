#!/usr/bin/env bash
# Run on 64-bit ARM, in emulation, what needs no ROS 2: map and evaluate the demo's drives, then the tests.
#
#     sudo PYTHON=.venv/bin/python tools/arm64.sh ROOT [TEST ...]
#
# For Debian and Ubuntu on x86_64, with the packages debootstrap and qemu-user-static. ROOT: a folder that gets a Debian of
# 0.9 GB, and is used again if it is there. TEST: as pytest takes them (default: all, which takes hours). Emulation is ten to fifty
# times as slow as a processor; its times say nothing.
set -eu
cd "$(dirname "$0")/.."
root=$(realpath -m "${1:?the folder for the emulated system}")
shift
python=${PYTHON:-python3}
packages=(-r requirements/robot.txt pytest==8.3.5 pytest-timeout==2.4.0 hypothesis==6.170.15 onnx==1.23.2)

if [ ! -e "$root/venv" ]; then
    debootstrap --arch=arm64 --variant=minbase --include=python3-venv,libgomp1 bookworm "$root"
fi
rm -rf "$root/vpr_ros"
mkdir "$root/vpr_ros"
git archive HEAD | tar -x -C "$root/vpr_ros"
if [ ! -e "$root/venv" ]; then
    # Loaded here, because the emulated system knows nothing of this one's network.
    platforms=()
    for version in 2014 _2_17 _2_26 _2_27 _2_28; do platforms+=(--platform "manylinux${version}_aarch64"); done
    "$python" -m pip download --quiet --only-binary=:all: --python-version 3.11 "${platforms[@]}" --dest "$root/wheels" "${packages[@]}"
    chroot "$root" python3 -m venv /venv
    chroot "$root" env --chdir=/vpr_ros /venv/bin/pip install --quiet --no-index --find-links /wheels "${packages[@]}"
fi

# A processor with 8-bit dot products, as the emulation has them: else the system would show this computer's.
printf 'Features\t: fp asimd asimddp\n' > "$root/cpuinfo"
trap 'umount "$root/proc/cpuinfo" "$root/proc"' EXIT
mount -t proc proc "$root/proc"
mount --bind "$root/cpuinfo" "$root/proc/cpuinfo"
inside() { chroot "$root" env --chdir=/vpr_ros PYTHONPATH=. OMP_NUM_THREADS=1 /venv/bin/python -m "$@"; }

inside platform
inside vpr_ros.build_map --bag demo/drives/day --every 2m --output /tmp/day
inside vpr_ros.evaluate_bag --bag demo/drives/dusk --map /tmp/day --radius 5
inside pytest -q --timeout 3600 "${@:-test}"
