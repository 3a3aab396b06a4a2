// Values to integers of a public grid, truncated towards zero, then held to bounds.

struct Params {
    // Of 64 bits: low word, high word.
    lower: vec2<u32>,
    upper: vec2<u32>,
    grid: u32,
    shift: i32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<u32>;
@group(0) @binding(2) var<storage, read_write> encoded: array<u32>;

fn negated(value: vec2<u32>) -> vec2<u32> {
    let low = ~value.x + 1u;
    return vec2<u32>(low, ~value.y + select(0u, 1u, low == 0u));
}

fn less(a: vec2<u32>, b: vec2<u32>) -> bool {
    let high_a = bitcast<i32>(a.y);
    let high_b = bitcast<i32>(b.y);
    return (high_a < high_b) | ((high_a == high_b) & (a.x < b.x));
}

// By a divisor below 2^31: the high word at once, the low one bit by bit.
fn divided(value: vec2<u32>, divisor: u32) -> vec2<u32> {
    var rest = value.y % divisor;
    var quotient = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
        rest = (rest << 1u) | ((value.x >> (31u - bit)) & 1u);
        let fits = rest >= divisor;
        rest -= select(0u, divisor, fits);
        quotient = (quotient << 1u) | select(0u, 1u, fits);
    }
    return vec2<u32>(quotient, value.y / divisor);
}

@compute @workgroup_size(256)
fn integers(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.count {
        return;
    }
    let value = vec2<u32>(values[2u * id.x], values[2u * id.x + 1u]);
    let below_zero = (value.y >> 31u) == 1u;
    let quotient = divided(select(value, negated(value), below_zero), params.grid);
    var result = select(quotient, negated(quotient), below_zero);
    result = select(result, params.lower, less(result, params.lower));
    result = select(result, params.upper, less(params.upper, result));
    encoded[2u * id.x] = result.x;
    encoded[2u * id.x + 1u] = result.y;
}

// The bits of an IEEE 754 binary32; the grid is 2^-shift, the bounds are -upper and upper.
@compute @workgroup_size(256)
fn floats(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.count {
        return;
    }
    let bits = values[id.x];
    let exponent = (bits >> 23u) & 0xffu;
    let fraction = bits & 0x7fffffu;
    let is_nan = (exponent == 255u) & (fraction != 0u);
    let bound = params.upper.x;
    let significand = select(fraction | 0x800000u, fraction, exponent == 0u);
    let by = i32(max(exponent, 1u)) - 150 + params.shift;
    let room = i32(countLeadingZeros(significand));
    // Both shifts stay below 32, whichever is taken.
    let left = significand << u32(clamp(by, 0, 31));
    let right = select(significand >> u32(clamp(-by, 0, 31)), 0u, by < -31);
    var size = select(right, select(left, bound, by >= room), by > 0);
    size = select(size, 0u, significand == 0u);
    size = select(min(size, bound), bound, exponent == 255u);
    size = select(size, 0u, is_nan);
    encoded[id.x] = select(size, ~size + 1u, (bits >> 31u) == 1u);
}
