// Four samples a block. No loop, no branch on what is drawn.

struct Params {
    key_low: vec4<u32>,
    key_high: vec4<u32>,
    statistic: u32,
    counter: u32,
    count: u32,
    mask: u32,
    reach: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> slots: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> samples: array<vec4<i32>>;

fn sample(choice: u32, high: u32, middle: u32, low: u32) -> i32 {
    let slot = choice & params.mask;
    let entry = slots[slot];
    let below = (high < entry.x)
        | ((high == entry.x) & ((middle < entry.y) | ((middle == entry.y) & (low < entry.z))));
    return i32(select(entry.w, slot, below)) - i32(params.reach);
}

@compute @workgroup_size(256)
fn noise(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.count {
        return;
    }
    let nonce = vec3<u32>(params.statistic, 0u, 0u);
    let words = block(params.key_low, params.key_high, params.counter + id.x, nonce);
    samples[id.x] = vec4<i32>(
        sample(words[0], words[1], words[2], words[3]),
        sample(words[4], words[5], words[6], words[7]),
        sample(words[8], words[9], words[10], words[11]),
        sample(words[12], words[13], words[14], words[15]),
    );
}
