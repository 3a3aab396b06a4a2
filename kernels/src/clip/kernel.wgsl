// Vectors clipped to an integer L2 norm, and their sum.

struct Params {
    rows: u32,
    dimensions: u32,
    norm_max: u32,
}

const LANES: u32 = 256u;
const ROWS_A_BLOCK: u32 = 512u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> vectors: array<i32>;
@group(0) @binding(2) var<storage, read_write> norms: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> sums: array<atomic<u32>>;

var<workgroup> squares: array<vec3<u32>, 256>;

fn plus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn minus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn negated(value: vec2<u32>) -> vec2<u32> {
    return minus(vec2<u32>(0u, 0u), value);
}

fn reaches(a: vec2<u32>, b: vec2<u32>) -> bool {
    return (a.y > b.y) | ((a.y == b.y) & (a.x >= b.x));
}

// Both words of a product, by halves of 16 bits.
fn product(a: u32, b: u32) -> vec2<u32> {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let other = a_low * b_high + (middle & 0xffffu);
    let high = a_high * b_high + (middle >> 16u) + (other >> 16u);
    return vec2<u32>((other << 16u) | (low & 0xffffu), high);
}

fn plus_wide(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
    let low = plus(a.xy, b.xy);
    let carry = select(0u, 1u, !reaches(low, a.xy));
    return vec3<u32>(low, a.z + b.z + carry);
}

// The smallest integer whose square reaches the number: digit by digit, two bits a step.
fn root_up(number: vec3<u32>) -> vec2<u32> {
    var left = number;
    var rest = vec2<u32>(0u, 0u);
    var root = vec2<u32>(0u, 0u);
    for (var step = 0u; step < 48u; step++) {
        rest = vec2<u32>((rest.x << 2u) | (left.z >> 30u), (rest.y << 2u) | (rest.x >> 30u));
        left = vec3<u32>(left.x << 2u, (left.y << 2u) | (left.x >> 30u), (left.z << 2u) | (left.y >> 30u));
        let trial = vec2<u32>((root.x << 2u) | 1u, (root.y << 2u) | (root.x >> 30u));
        let fits = reaches(rest, trial);
        rest = select(rest, minus(rest, trial), fits);
        root = vec2<u32>((root.x << 1u) | select(0u, 1u, fits), (root.y << 1u) | (root.x >> 31u));
    }
    return plus(root, vec2<u32>(select(0u, 1u, any(rest != vec2<u32>(0u, 0u))), 0u));
}

fn size(value: i32) -> u32 {
    return select(bitcast<u32>(value), ~bitcast<u32>(value) + 1u, value < 0);
}

// One workgroup a vector: its norm, rounded up, where it is too long; else zero.
@compute @workgroup_size(256)
fn norm(
    @builtin(workgroup_id) row: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = vec3<u32>(0u, 0u, 0u);
    for (var at = lane; at < params.dimensions; at += LANES) {
        let length = size(vectors[row.x * params.dimensions + at]);
        sum = plus_wide(sum, vec3<u32>(product(length, length), 0u));
    }
    squares[lane] = sum;
    for (var step = LANES / 2u; step > 0u; step >>= 1u) {
        workgroupBarrier();
        if lane < step {
            squares[lane] = plus_wide(squares[lane], squares[lane + step]);
        }
    }
    if lane == 0u {
        let length = root_up(squares[0]);
        let fits = reaches(vec2<u32>(params.norm_max, 0u), length);
        norms[row.x] = select(length, vec2<u32>(0u, 0u), fits);
    }
}

// floor(value * norm_max / length): the quotient is below 2^31, as no value is longer than its vector.
fn shortened(value: u32, length: vec2<u32>) -> u32 {
    let whole = product(value, params.norm_max);
    var rest = vec2<u32>(whole.y, 0u);
    var quotient = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
        let next = (whole.x >> (31u - bit)) & 1u;
        rest = vec2<u32>((rest.x << 1u) | next, (rest.y << 1u) | (rest.x >> 31u));
        let fits = reaches(rest, length);
        rest = select(rest, minus(rest, length), fits);
        quotient = (quotient << 1u) | select(0u, 1u, fits);
    }
    return quotient;
}

// One lane a dimension and block of rows. A block is short, because all loops of an invocation
// together stay below 2^16 turns: Mesa's device of software ends them there, and says nothing.
@compute @workgroup_size(256)
fn add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let across = (params.dimensions + LANES - 1u) / LANES;
    let column = (group.x % across) * LANES + lane;
    if column >= params.dimensions {
        return;
    }
    let first = (group.x / across) * ROWS_A_BLOCK;
    var sum = vec2<u32>(0u, 0u);
    for (var row = first; row < min(first + ROWS_A_BLOCK, params.rows); row++) {
        let value = vectors[row * params.dimensions + column];
        let length = norms[row];
        var clipped = size(value);
        if any(length != vec2<u32>(0u, 0u)) {
            clipped = shortened(clipped, length);
        }
        let wide = vec2<u32>(clipped, 0u);
        sum = plus(sum, select(wide, negated(wide), value < 0));
    }
    let before = atomicAdd(&sums[2u * column], sum.x);
    let high = sum.y + select(0u, 1u, before + sum.x < before);
    if high != 0u {
        atomicAdd(&sums[2u * column + 1u], high);
    }
}
