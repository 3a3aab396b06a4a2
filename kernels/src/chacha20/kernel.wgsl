// Blocks that follow each other.

struct Params {
    key_low: vec4<u32>,
    key_high: vec4<u32>,
    nonce: vec3<u32>,
    counter: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> words: array<u32>;

@compute @workgroup_size(256)
fn blocks(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.count {
        return;
    }
    let made = block(params.key_low, params.key_high, params.counter + id.x, params.nonce);
    for (var word = 0u; word < 16u; word++) {
        words[16u * id.x + word] = made[word];
    }
}
