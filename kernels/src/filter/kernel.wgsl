// Bounded rows keep their segment, the others get none.

struct Params {
    rows_max: u32,
    groups_max: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> segments: array<u32>;
@group(0) @binding(2) var<storage, read> row_ranks: array<u32>;
@group(0) @binding(3) var<storage, read> group_ranks: array<u32>;
@group(0) @binding(4) var<storage, read_write> kept: array<u32>;

@compute @workgroup_size(256)
fn filter_rows(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.count {
        return;
    }
    let stays = (row_ranks[id.x] < params.rows_max) & (group_ranks[id.x] < params.groups_max);
    kept[id.x] = select(0xffffffffu, segments[id.x], stays);
}
