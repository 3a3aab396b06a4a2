//! What a shader says, without running it.

use crate::device::Shader;
use crate::device::vulkan::naga;
use crate::{chacha20, clip, encode, filter, histogram, noise, segmented_sum};

type Fields = &'static [(&'static str, usize)];

/// Every kernel with the parameters as Rust lays them out.
const ALL: [(&Shader, Fields); 7] = [
    (&chacha20::SHADER, chacha20::Params::FIELDS),
    (&clip::SHADER, clip::Params::FIELDS),
    (&encode::SHADER, encode::Params::FIELDS),
    (&filter::SHADER, filter::Params::FIELDS),
    (&histogram::SHADER, histogram::Params::FIELDS),
    (&noise::SHADER, noise::Params::FIELDS),
    (&segmented_sum::SHADER, segmented_sum::Params::FIELDS),
];

fn checked(source: &str) -> Result<(naga::Module, naga::valid::ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|error| error.to_string())?;
    // No capability beyond what every device has: no 64 bits, no floats of other sizes.
    let capabilities = naga::valid::Capabilities::empty();
    let mut validator =
        naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities);
    let info = validator.validate(&module).map_err(|error| error.to_string())?;
    Ok((module, info))
}

/// Names and offsets of the struct `Params`.
fn fields(module: &naga::Module) -> Vec<(String, usize)> {
    let named =
        |(_, ty): &(naga::Handle<naga::Type>, &naga::Type)| ty.name.as_deref() == Some("Params");
    let (_, ty) = module.types.iter().find(named).expect("a struct Params");
    let naga::TypeInner::Struct { members, .. } = &ty.inner else { panic!("Params is no struct") };
    let field = |member: &naga::StructMember| {
        (member.name.clone().unwrap_or_default(), member.offset as usize)
    };
    members.iter().map(field).collect()
}

/// Whether a type holds integers and truth values only.
fn is_of_integers(inner: &naga::TypeInner, types: &naga::UniqueArena<naga::Type>) -> bool {
    use naga::TypeInner::{Array, Atomic, Pointer, Scalar, Struct, ValuePointer, Vector};
    let whole = |scalar: &naga::Scalar| {
        matches!(
            scalar.kind,
            naga::ScalarKind::Sint | naga::ScalarKind::Uint | naga::ScalarKind::Bool
        ) && scalar.width <= 4
    };
    match inner {
        Scalar(scalar) | Atomic(scalar) => whole(scalar),
        Vector { scalar, .. } | ValuePointer { scalar, .. } => whole(scalar),
        Array { base, .. } | Pointer { base, .. } => is_of_integers(&types[*base].inner, types),
        Struct { members, .. } => {
            members.iter().all(|member| is_of_integers(&types[member.ty].inner, types))
        }
        _ => false,
    }
}

/// How many expressions were looked at, and how many are not of integers.
fn expressions(module: &naga::Module, info: &naga::valid::ModuleInfo) -> (usize, usize) {
    let functions = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let entries = module.entry_points.iter().enumerate();
    let entries = entries.map(|(at, entry)| (&entry.function, info.get_entry_point(at)));
    let (mut all, mut other) = (0, 0);
    for (function, info) in functions.chain(entries) {
        for (handle, _) in function.expressions.iter() {
            all += 1;
            let inner = info[handle].ty.inner_with(&module.types);
            other += usize::from(!is_of_integers(inner, &module.types));
        }
    }
    (all, other)
}

#[test]
fn shaders_are_valid_know_integers_only_and_lay_parameters_out_as_rust_does() {
    for (shader, expected) in ALL {
        let name = shader.name;
        let (module, info) = checked(&shader.source()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found = fields(&module);
        let found: Vec<(&str, usize)> = found.iter().map(|(n, at)| (n.as_str(), *at)).collect();
        assert_eq!(found, expected, "{name}");
        let (all, other) = expressions(&module, &info);
        assert!(all > 20 && other == 0, "{name}: {other} of {all}");
    }
}

#[test]
fn control_what_is_wrong_in_a_shader_is_seen() {
    assert!(checked("fn f() -> u32 { return 1.5; }").is_err());
    // Bits of 64 are a capability.
    assert!(checked("fn f(a: u64) -> u64 { return a; }").is_err());
    let (module, info) = checked("fn f(a: i32) -> i32 { return i32(f32(a) * 2.0); }").unwrap();
    assert!(expressions(&module, &info).1 > 0);
    // Two fields of one size, swapped: by position nothing would show.
    let source = filter::SHADER.source();
    let swapped = source
        .replace("rows_max: u32,\n", "ROWS: u32,\n")
        .replace("groups_max: u32,\n", "rows_max: u32,\n")
        .replace("ROWS: u32,\n", "groups_max: u32,\n");
    let (module, _) = checked(&swapped).unwrap();
    let found = fields(&module);
    assert_ne!(found[0].0, filter::Params::FIELDS[0].0);
    assert_eq!(found[0].1, filter::Params::FIELDS[0].1);
}
