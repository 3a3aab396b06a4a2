// Sums of 64 bits in two words, exact modulo 2^64 in whatever order the additions come.
//
// A lane sums runs of its own rows, the lanes of a workgroup join equal last runs as a tree, and only
// what differs is added to memory. So sorted rows meet few atomics, and unsorted ones are right too.

struct Params {
    count: u32,
    groups: u32,
}

const LANES: u32 = 256u;
const ROWS_A_LANE: u32 = 8u;
const NONE: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> segments: array<u32>;
@group(0) @binding(2) var<storage, read> values: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> sums: array<atomic<u32>>;

var<workgroup> last_segment: array<u32, 256>;
var<workgroup> last_sum: array<vec2<u32>, 256>;

fn plus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn add_to_memory(segment: u32, sum: vec2<u32>) {
    if segment >= params.groups {
        return;
    }
    let before = atomicAdd(&sums[2u * segment], sum.x);
    let high = sum.y + select(0u, 1u, before + sum.x < before);
    if high != 0u {
        atomicAdd(&sums[2u * segment + 1u], high);
    }
}

@compute @workgroup_size(256)
fn segmented_sum(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = id.x * ROWS_A_LANE;
    var segment = NONE;
    var sum = vec2<u32>(0u, 0u);
    for (var row = first; row < min(first + ROWS_A_LANE, params.count); row++) {
        if segments[row] != segment {
            add_to_memory(segment, sum);
            segment = segments[row];
            sum = vec2<u32>(0u, 0u);
        }
        sum = plus(sum, values[row]);
    }
    last_segment[lane] = segment;
    last_sum[lane] = sum;
    for (var step = 1u; step < LANES; step <<= 1u) {
        workgroupBarrier();
        if lane % (2u * step) == 0u {
            if last_segment[lane + step] == last_segment[lane] {
                last_sum[lane] = plus(last_sum[lane], last_sum[lane + step]);
            } else {
                add_to_memory(last_segment[lane + step], last_sum[lane + step]);
            }
        }
    }
    if lane == 0u {
        add_to_memory(last_segment[0], last_sum[0]);
    }
}
