// The index of an invocation in a launch of many in a row. WebGPU allows 65,535 workgroups per dimension, so longer
// launches are folded over y and z; the last workgroups may run past the end, and the kernel tests its index.

override WG: u32 = 64u;

fn flat_index(group: vec3<u32>, groups: vec3<u32>, local: u32) -> u32 {
    return ((group.z * groups.y + group.y) * groups.x + group.x) * WG + local;
}
