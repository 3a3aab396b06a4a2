// Rows by segment and bin; the bin is how many edges are not above the value.

struct Params {
    count: u32,
    groups: u32,
    edges: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> segments: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read> edges: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;

fn less(a: vec2<u32>, b: vec2<u32>) -> bool {
    let high_a = bitcast<i32>(a.y);
    let high_b = bitcast<i32>(b.y);
    return (high_a < high_b) | ((high_a == high_b) & (a.x < b.x));
}

@compute @workgroup_size(256)
fn histogram(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.count {
        return;
    }
    let segment = segments[id.x];
    if segment >= params.groups {
        return;
    }
    let value = values[id.x];
    var low = 0u;
    var high = params.edges;
    while low < high {
        let middle = (low + high) / 2u;
        if less(value, edges[middle]) {
            high = middle;
        } else {
            low = middle + 1u;
        }
    }
    atomicAdd(&counts[segment * (params.edges + 1u) + low], 1u);
}
