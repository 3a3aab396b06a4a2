// RFC 8439 section 2.3: the block function. What names it has goes before what uses it.

fn rotated(word: u32, by: u32) -> u32 {
    return (word << by) | (word >> (32u - by));
}

fn quarter(state: ptr<function, array<u32, 16>>, a: u32, b: u32, c: u32, d: u32) {
    (*state)[a] += (*state)[b];
    (*state)[d] = rotated((*state)[d] ^ (*state)[a], 16u);
    (*state)[c] += (*state)[d];
    (*state)[b] = rotated((*state)[b] ^ (*state)[c], 12u);
    (*state)[a] += (*state)[b];
    (*state)[d] = rotated((*state)[d] ^ (*state)[a], 8u);
    (*state)[c] += (*state)[d];
    (*state)[b] = rotated((*state)[b] ^ (*state)[c], 7u);
}

fn block(low: vec4<u32>, high: vec4<u32>, counter: u32, nonce: vec3<u32>) -> array<u32, 16> {
    let first = array<u32, 16>(
        0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u,
        low.x, low.y, low.z, low.w,
        high.x, high.y, high.z, high.w,
        counter, nonce.x, nonce.y, nonce.z,
    );
    var state = first;
    for (var round = 0u; round < 10u; round++) {
        quarter(&state, 0u, 4u, 8u, 12u);
        quarter(&state, 1u, 5u, 9u, 13u);
        quarter(&state, 2u, 6u, 10u, 14u);
        quarter(&state, 3u, 7u, 11u, 15u);
        quarter(&state, 0u, 5u, 10u, 15u);
        quarter(&state, 1u, 6u, 11u, 12u);
        quarter(&state, 2u, 7u, 8u, 13u);
        quarter(&state, 3u, 4u, 9u, 14u);
    }
    for (var word = 0u; word < 16u; word++) {
        state[word] += first[word];
    }
    return state;
}
