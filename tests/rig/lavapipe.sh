#!/usr/bin/env bash
# tests/rig/lavapipe.sh: Vulkan by the processor, from the distribution's package, for the tests of kernels. They take a GPU where
# there is one, and fail where there is neither; none is left out.
set -euo pipefail
have() { compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null; }
have && exit 0
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get install -y --no-install-recommends mesa-vulkan-drivers >&2 ||
    { "${as_root[@]}" apt-get update >&2 && "${as_root[@]}" apt-get install -y --no-install-recommends mesa-vulkan-drivers >&2; } || true
have || { echo "lavapipe.sh: no Vulkan driver: install the package mesa-vulkan-drivers" >&2; exit 1; }
