//! The WGSL text of a fused kernel.
//!
//! Extents and strides are written into the text as numbers, so that the driver divides by constants; the element
//! count, the first elements of the operands, and the host's scalars are parameters, so that kernels over the same
//! pattern share one pipeline.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::fuse::{Fused, Instruction};
use super::walk::Walk;
use crate::device::Shader;
use crate::tensor::DType;

/// A generated kernel.
pub(super) struct Generated {
    pub shader: Shader,
    /// Name and offset of each field of its `Params`: `n`, a base per operand, then the scalars.
    pub fields: Vec<(&'static str, usize)>,
}

/// The workgroup size of fused kernels.
pub(super) const GROUP: u32 = 64;

/// Operands and scalars a kernel may have; names of the parameter fields are listed for them.
pub(super) const MOST_OPERANDS: usize = 16;
pub(super) const MOST_SCALARS: usize = 12;

const BASES: [&str; MOST_OPERANDS] = [
    "base0", "base1", "base2", "base3", "base4", "base5", "base6", "base7", "base8", "base9", "base10", "base11",
    "base12", "base13", "base14", "base15",
];
const SCALARS: [&str; MOST_SCALARS] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11"];

/// Where operand `k` reads, as an expression of `i` or the coordinates `c0..`.
fn position(walk: &Walk, k: usize) -> String {
    if walk.in_order(k) {
        return format!("p.{} + i", BASES[k]);
    }
    let mut text = format!("p.{}", BASES[k]);
    for (axis, &stride) in walk.strides[k].iter().enumerate() {
        match stride {
            0 => {}
            1 => text += &format!(" + c{axis}"),
            s if s > 0 => text += &format!(" + c{axis} * {s}u"),
            s => text += &format!(" - c{axis} * {}u", -s),
        }
    }
    text
}

/// Writes the kernel.
pub(super) fn generate(fused: &Fused) -> Generated {
    let walk = Walk::over(fused);
    let mut fields = vec![("n", 0)];
    let mut params = String::from("    n: u32,\n");
    for base in &BASES[..fused.operands.len()] {
        fields.push((base, 4 * fields.len()));
        params += &format!("    {base}: u32,\n");
    }
    for (name, (_, dtype)) in SCALARS.iter().zip(&fused.scalars) {
        fields.push((name, 4 * fields.len()));
        params += &format!("    {name}: {},\n", dtype.wgsl());
    }
    let mut text = format!(
        "{}\n// A fused kernel over {}, written by the planner.\n\n\
         struct Params {{\n{params}}}\n\nvar<immediate> p: Params;\n\n",
        include_str!("../../shaders/shared/flat.wgsl"),
        if walk.extents.len() <= 1 { "any number of elements".into() } else { format!("{:?} elements", walk.extents) },
    );
    for (k, operand) in fused.operands.iter().enumerate() {
        text += &format!("@group(0) @binding({k}) var<storage, read> in{k}: array<{}>;\n", operand.dtype.wgsl());
    }
    let out = fused.operands.len();
    text += &format!("@group(0) @binding({out}) var<storage, read_write> out: array<{}>;\n\n", fused.dtype.wgsl());
    text.push_str(
        "@compute @workgroup_size(WG)\nfn main(\n    @builtin(workgroup_id) group: vec3<u32>,\n    \
         @builtin(num_workgroups) groups: vec3<u32>,\n    @builtin(local_invocation_index) local: u32,\n) {\n    \
         let i = flat_index(group, groups, local);\n    if (i >= p.n) {\n        return;\n    }\n",
    );
    if (0..fused.operands.len()).any(|k| !walk.in_order(k) && walk.strides[k].iter().any(|&s| s != 0)) {
        text.push_str(&coordinates(&walk));
    }
    for (number, (instruction, dtype)) in fused.code.iter().enumerate() {
        let value = match instruction {
            Instruction::Load(k) => truth(format!("in{k}[{}]", position(&walk, *k)), *dtype),
            Instruction::Scalar(k) => truth(format!("p.{}", SCALARS[*k]), *dtype),
            Instruction::Apply { scalar, args, .. } => {
                let mut value = scalar.wgsl.to_string();
                for (name, arg) in ["{a}", "{b}", "{c}"].into_iter().zip(args) {
                    value = value.replace(name, &format!("v{arg}"));
                }
                value
            }
        };
        text += &format!("    let v{number} = {value};\n");
    }
    let last = fused.code.len() - 1;
    let stored = if fused.dtype == DType::Bool { format!("u32(v{last})") } else { format!("v{last}") };
    text += &format!("    out[i] = {stored};\n}}\n");
    text += &functions_called(&text);
    Generated { shader: Shader { name: Cow::Borrowed("fused"), source: Cow::Owned(text) }, fields }
}

/// The coordinates of element `i`, innermost axis first.
fn coordinates(walk: &Walk) -> String {
    let mut text = String::from("    var rest = i;\n");
    for (axis, &extent) in walk.extents.iter().enumerate().rev() {
        if axis == 0 {
            text.push_str("    let c0 = rest;\n");
        } else {
            text += &format!("    let c{axis} = rest % {extent}u;\n    rest = rest / {extent}u;\n");
        }
    }
    text
}

/// The functions of `shaders/shared` by name, with the comments before them: a paragraph each.
static FUNCTIONS: LazyLock<BTreeMap<&str, &str>> = LazyLock::new(|| {
    let texts = [include_str!("../../shaders/shared/math.wgsl"), include_str!("../../shaders/shared/special.wgsl")];
    let paragraphs = texts.into_iter().flat_map(|text| text.split("\n\n"));
    paragraphs
        .filter_map(|text| {
            let at = if text.starts_with("fn ") { 3 } else { text.find("\nfn ")? + 4 };
            Some((text[at..].split('(').next()?, text.trim_end()))
        })
        .collect()
});

/// Those that a text calls, and those that they call. Drivers compile what they are given, used or not.
fn functions_called(text: &str) -> String {
    let mut found: Vec<&str> = Vec::new();
    let mut unread = vec![text];
    while let Some(text) = unread.pop() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for word in code.flat_map(|line| line.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_')) {
            if let Some((name, function)) = word.strip_suffix('(').and_then(|w| FUNCTIONS.get_key_value(w))
                && !found.contains(name)
            {
                found.push(name);
                unread.push(function);
            }
        }
    }
    found.sort_unstable();
    found.iter().map(|name| format!("\n{}\n", FUNCTIONS[name])).collect()
}

/// Truth values are `u32` in memory and `bool` in expressions.
fn truth(word: String, dtype: DType) -> String {
    if dtype == DType::Bool { format!("({word} != 0u)") } else { word }
}
