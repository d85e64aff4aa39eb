//! The WGSL text of a fused kernel.
//!
//! Extents and strides are written into the text as numbers, so that the driver divides by constants; the element
//! count, the first elements of the operands, and the host's scalars are parameters, so that kernels over the same
//! pattern share one pipeline. Inside another kernel, whose parameters are its own, first elements are written into the
//! text too, and the host's scalars are read from the buffer of its numbers.
//!
//! Halves are read into single precision, and stored two in a word, or one by one where the adapter has 16-bit floats.
//!
//! A wide kernel makes four elements in each invocation, and loads and stores them as one vector. On an H200 the sum of
//! two arrays moved 1.2 TB/s an element at a time in workgroups of 64, and 4.2 TB/s four at a time in larger ones; a
//! copy moves as much.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::fuse::{Fused, Instruction};
use super::halves::ENABLE;
use super::walk::Walk;
use crate::device::{READ_ONCE, Shader};
use crate::tensor::{Bind, DType};

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

/// Where operand `k` reads, as an expression of `i` or the coordinates `c0..`, from `base` on.
fn position(walk: &Walk, k: usize, base: &str) -> String {
    if walk.in_order(k) {
        return format!("{base} + i");
    }
    let mut text = base.to_string();
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

/// The lines that compute the value of element `i`, the last of `v0..`.
fn code(fused: &Fused, walk: &Walk, load: &dyn Fn(usize) -> String, number: &dyn Fn(usize) -> String) -> String {
    let mut text = String::new();
    if (0..fused.operands.len()).any(|k| !walk.in_order(k) && walk.strides[k].iter().any(|&s| s != 0)) {
        text.push_str(&coordinates(walk));
    }
    for (at, (instruction, dtype)) in fused.code.iter().enumerate() {
        let value = match instruction {
            Instruction::Load(k) => truth(load(*k), *dtype),
            Instruction::Scalar(k) => truth(number(*k), *dtype),
            Instruction::Apply { scalar, args, .. } => {
                let mut value = scalar.wgsl.to_string();
                for (name, arg) in ["{a}", "{b}", "{c}"].into_iter().zip(args) {
                    value = value.replace(name, &format!("v{arg}"));
                }
                value
            }
        };
        text += &format!("    let v{at} = {value};\n");
    }
    text
}

/// How an element of this type lies in memory: halves two in a word where the adapter has no 16-bit floats.
fn memory(dtype: DType, native_half: bool) -> &'static str {
    match dtype {
        DType::F16 if native_half => "f16",
        DType::F16 => "u32",
        other => other.wgsl(),
    }
}

/// Element `at` of an array of these.
fn element(name: &str, at: &str, dtype: DType, native_half: bool) -> String {
    match dtype {
        DType::F16 if native_half => format!("f32({name}[{at}])"),
        DType::F16 => format!("half_of({name}[({at}) / 2u], {at})"),
        _ => format!("{name}[{at}]"),
    }
}

/// How many elements one invocation makes: four if it is wide, two where they share a word.
pub(super) fn per_invocation(fused: &Fused, form: Form) -> usize {
    match form {
        Form { wide: true, .. } => 4,
        Form { native_half: false, .. } if fused.dtype == DType::F16 => 2,
        _ => 1,
    }
}

/// How a kernel is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form<'a> {
    /// It stores through an epilogue, in single precision until it is known what that makes.
    pub open: bool,
    /// The adapter has 16-bit floats.
    pub native_half: bool,
    /// Four elements in each invocation: their number is a multiple of four, and no half is packed.
    pub wide: bool,
    /// The operands that a wide kernel reads four at a time: in order, from a multiple of four on.
    pub fours: &'a [bool],
}

/// Whether a kernel can be wide: there are whole fours, and no packed halves among them.
pub(super) fn can_be_wide(fused: &Fused, native_half: bool) -> bool {
    let packed = |dtype: DType| dtype == DType::F16 && !native_half;
    let any_packed = packed(fused.dtype) || fused.operands.iter().any(|o| packed(o.dtype));
    fused.shape.elements().is_multiple_of(4) && !any_packed
}

/// The operands that lie in the order of the elements.
pub(super) fn in_order(fused: &Fused) -> Vec<bool> {
    let walk = Walk::over(fused);
    (0..fused.operands.len()).map(|k| walk.in_order(k)).collect()
}

/// Writes the kernel.
pub(super) fn generate(fused: &Fused, form: Form) -> Generated {
    let Form { open, native_half, wide, .. } = form;
    let walk = Walk::over(fused);
    let four = |k: usize| wide && form.fours[k];
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
    let halves = fused.dtype == DType::F16 || fused.operands.iter().any(|o| o.dtype == DType::F16);
    let mut text = format!(
        "{}{}\n// A fused kernel over {}, written by the planner.\n\n\
         struct Params {{\n{params}}}\n\nvar<immediate> p: Params;\n\n",
        if halves && native_half { ENABLE } else { "" },
        include_str!("../../shaders/shared/flat.wgsl"),
        if walk.extents.len() <= 1 { "any number of elements".into() } else { format!("{:?} elements", walk.extents) },
    );
    let array = |dtype: DType, four: bool| match memory(dtype, native_half) {
        one if four => format!("array<vec4<{one}>>"),
        one => format!("array<{one}>"),
    };
    for (k, operand) in fused.operands.iter().enumerate() {
        let remark = if four(k) { READ_ONCE } else { "" };
        text +=
            &format!("@group(0) @binding({k}) var<storage, read> in{k}: {};{remark}\n", array(operand.dtype, four(k)));
    }
    let out = fused.operands.len();
    let made = if open { DType::F32 } else { fused.dtype };
    text += &format!("@group(0) @binding({out}) var<storage, read_write> out: {};\n\n", array(made, wide));
    text.push_str(
        "@compute @workgroup_size(WG)\nfn main(\n    @builtin(workgroup_id) group: vec3<u32>,\n    \
         @builtin(num_workgroups) groups: vec3<u32>,\n    @builtin(local_invocation_index) local: u32,\n) {\n    \
         let i = flat_index(group, groups, local);\n",
    );
    let several = per_invocation(fused, form);
    // The body of several becomes a function of the element.
    match several {
        4 => text += &wide_body(fused, form, memory(made, native_half)),
        2 => text.push_str(
            "    let first = 2u * i;\n    if (first >= p.n) {\n        return;\n    }\n    \
             var second = 0.0;\n    if (first + 1u < p.n) {\n        second = element(first + 1u);\n    }\n    \
             out[i] = half_bits(element(first)) | (half_bits(second) << 16u);\n}\n\nfn element(i: u32) -> f32 {\n",
        ),
        _ => text.push_str("    if (i >= p.n) {\n        return;\n    }\n"),
    }
    let load = |k: usize| {
        if four(k) {
            return format!("x{k}");
        }
        let at = position(&walk, k, &format!("p.{}", BASES[k]));
        element(&format!("in{k}"), &at, fused.operands[k].dtype, native_half)
    };
    text += &code(fused, &walk, &load, &|k| format!("p.{}", SCALARS[k]));
    let last = fused.code.len() - 1;
    let value = match fused.dtype {
        _ if open => format!("epilogue(v{last}, i)"),
        DType::F16 if several == 2 => format!("v{last}"),
        DType::F16 => format!("f16(v{last})"),
        DType::Bool => format!("u32(v{last})"),
        _ => format!("v{last}"),
    };
    text += &if several == 1 { format!("    out[i] = {value};\n}}\n") } else { format!("    return {value};\n}}\n") };
    text += &functions_called(&text, "");
    if open {
        text += EPILOGUE;
    }
    Generated { shader: Shader { name: Cow::Borrowed("fused"), source: Cow::Owned(text) }, fields }
}

/// The main function of a wide kernel, and the head of the one that makes an element, of type `made` in memory.
fn wide_body(fused: &Fused, form: Form, made: &str) -> String {
    let fours: Vec<usize> = (0..fused.operands.len()).filter(|&k| form.fours[k]).collect();
    let mut text = String::from("    if (i >= p.n / 4u) {\n        return;\n    }\n");
    let mut heads = String::new();
    for &k in &fours {
        let dtype = fused.operands[k].dtype;
        let (loaded, one) = match dtype {
            DType::F16 => (format!("vec4<f32>(in{k}[p.{} / 4u + i])", BASES[k]), "f32"),
            _ => (format!("in{k}[p.{} / 4u + i]", BASES[k]), memory(dtype, true)),
        };
        text += &format!("    let x{k} = {loaded};\n");
        heads += &format!(", x{k}: {one}");
    }
    text += &format!("    out[i] = vec4<{made}>(\n");
    for (lane, part) in ["x", "y", "z", "w"].iter().enumerate() {
        let args: String = fours.iter().map(|k| format!(", x{k}.{part}")).collect();
        text += &format!("        element(4u * i + {lane}u{args}),\n");
    }
    text + &format!("    );\n}}\n\nfn element(i: u32{heads}) -> {made} {{\n")
}

/// The coordinates of element `i`, innermost axis first.
fn coordinates(walk: &Walk) -> String {
    let mut text = String::from("    var rest = i;\n");
    for (axis, &extent) in walk.extents.iter().enumerate().rev() {
        // A reduction over nothing reads nothing, but its text says how it would.
        let extent = extent.max(1);
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
    let texts = [
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/special.wgsl"),
        include_str!("../../shaders/shared/half.wgsl"),
    ];
    let paragraphs = texts.into_iter().flat_map(|text| text.split("\n\n"));
    paragraphs
        .filter_map(|text| {
            let at = if text.starts_with("fn ") { 3 } else { text.find("\nfn ")? + 4 };
            Some((text[at..].split('(').next()?, text.trim_end()))
        })
        .collect()
});

/// The text of one of them.
pub(super) fn shared(name: &str) -> &'static str {
    FUNCTIONS[name]
}

/// Those that a text calls, and those that they call, but for what `shader` has already. Drivers compile what they are
/// given, used or not.
fn functions_called(text: &str, shader: &str) -> String {
    let mut found: Vec<&str> = Vec::new();
    let mut unread = vec![text];
    while let Some(text) = unread.pop() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for word in code.flat_map(|line| line.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_')) {
            if let Some((name, function)) = word.strip_suffix('(').and_then(|w| FUNCTIONS.get_key_value(w))
                && !found.contains(name)
                && !shader.contains(&format!("fn {name}("))
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

/// The functions through which kernels store and load; the planner writes others in their place.
const EPILOGUE: &str = include_str!("../../shaders/shared/epilogue.wgsl");
const PROLOGUE: &str = include_str!("../../shaders/shared/prologue.wgsl");

/// Where code inside another kernel finds an operand.
pub(super) enum Place {
    /// Value `k` of the chain: 0 is what the kernel stores, `k` what the `k`-th fused kernel behind it makes.
    Value(usize),
    /// In binding `k` of those added, from an element on.
    Bound(usize, usize),
}

/// A fused kernel inside another, with the places of its operands and the added bindings of its numbers of the host.
pub(super) type Part<'a> = (&'a Fused, &'a [Place], &'a [usize]);

/// A kernel that takes in fused ones: its entry point, how many bindings it has, those added and their types, its text,
/// and whether the adapter has 16-bit floats.
pub(super) struct Inside<'a> {
    pub entry: &'a str,
    pub first: usize,
    pub binds: &'a [(Bind, DType)],
    pub shader: &'a str,
    pub native_half: bool,
}

impl Inside<'_> {
    fn declarations(&self, name: &str, binding: impl Fn(usize) -> usize) -> String {
        let declare = |(k, (bind, dtype)): (usize, &(Bind, DType))| {
            let (at, access) = (binding(k), if bind.write { "read_write" } else { "read" });
            format!(
                "@group(0) @binding({at}) var<storage, {access}> {name}{k}: array<{}>;\n",
                memory(*dtype, self.native_half)
            )
        };
        self.binds.iter().enumerate().map(declare).collect()
    }

    fn code(&self, name: &str, (fused, places, scalars): Part) -> String {
        let walk = Walk::over(fused);
        let load = |k: usize| match &places[k] {
            Place::Value(value) => format!("value{value}"),
            Place::Bound(bind, base) => {
                let at = position(&walk, k, &format!("{base}u"));
                element(&format!("{name}{bind}"), &at, fused.operands[k].dtype, self.native_half)
            }
        };
        code(fused, &walk, &load, &|k| format!("{name}{}[0]", scalars[k]))
    }

    /// The text with `written` in the place of `fragment`.
    fn with(&self, fragment: &str, written: String) -> String {
        assert!(self.shader.contains(fragment), "the shader of a launch that takes in others has no place for them");
        let functions = functions_called(&written, self.shader);
        let text = self.only_entry().replacen(fragment, &(written + &functions), 1);
        let halves = self.native_half && self.binds.iter().any(|(_, dtype)| *dtype == DType::F16);
        if halves && !text.starts_with(ENABLE) { format!("{ENABLE}{text}") } else { text }
    }

    /// The text without the arrays at these bindings that nobody uses: what is bound there now may be of another type.
    fn without_unused(text: String, bindings: impl Iterator<Item = usize>) -> String {
        let heads: Vec<String> = bindings.map(|k| format!("@group(0) @binding({k}) var<")).collect();
        let used = |name: &str| {
            text.match_indices(name).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let word = before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '.');
                !word && (text[at + name.len()..].starts_with('[') || before == Some('&'))
            })
        };
        let unused = |line: &&str| {
            let name = line.split_once("> ").and_then(|(_, rest)| rest.split_once(':')).map(|(name, _)| name);
            heads.iter().any(|head| line.starts_with(head.as_str())) && !name.is_some_and(used)
        };
        text.split_inclusive('\n').filter(|line| !unused(line)).collect()
    }

    /// The text without its other entry points, whose bindings may have the numbers of the added ones.
    fn only_entry(&self) -> String {
        let mut text = String::new();
        for (k, part) in self.shader.split("@compute").enumerate() {
            let wanted = part.contains(&format!("fn {}(", self.entry));
            match part.find("\n}\n") {
                Some(end) if k > 0 && !wanted => text += &part[end + 3..],
                _ => text += &(if k > 0 { "@compute" } else { "" }.to_string() + part),
            }
        }
        text
    }

    /// The shader with these fused kernels where it stores: value `main` in its own place, the others of `stores`
    /// (value, added binding) in theirs. `round`: what they read of the shader itself is halves.
    pub fn epilogue(&self, parts: &[Part], round: bool, main: usize, stores: &[(usize, usize)]) -> String {
        let mut text = self.declarations("epilogue", |k| self.first + k);
        text += "\nfn epilogue(value: f32, i: u32) -> f32 {\n";
        text += &format!("    let value0 = {};\n", if round { "rounded_to_half(value)" } else { "value" });
        for (k, part) in parts.iter().enumerate() {
            let (value, last) = (k + 1, part.0.code.len() - 1);
            text += &format!("    var value{value}: f32;\n    {{\n{}", self.code("epilogue", *part));
            text += &format!("    value{value} = v{last};\n    }}\n");
        }
        for (value, bind) in stores {
            let half = self.binds[*bind].1 == DType::F16;
            let value = if half { format!("f16(value{value})") } else { format!("value{value}") };
            text += &format!("    epilogue{bind}[i] = {value};\n");
        }
        text += &format!("    return value{main};\n}}\n");
        Self::without_unused(self.with(EPILOGUE, text), self.first..self.first + self.binds.len())
    }

    /// The shader with this fused kernel where it loads from binding `at`, whose first element is element `shift` of
    /// the result: halves, which it would have widened, or not. The first added binding takes the number of that one.
    pub fn prologue(&self, part: Part, at: usize, shift: usize) -> String {
        let mut text = self.declarations("prologue", |k| if k == 0 { at } else { self.first + k - 1 });
        text += &format!("\nfn load(at: u32) -> u32 {{\n    let i = at + {shift}u;\n");
        text += &self.code("prologue", part);
        text += &format!("    return bitcast<u32>(v{});\n}}\n", part.0.code.len() - 1);
        let widened = PROLOGUE.replace("x[i]", "x_widened(u32(i))");
        let text = self.with(if self.shader.contains(PROLOGUE) { PROLOGUE } else { &widened }, text);
        // The function that widened the input has no caller any more.
        let text = match text.find("\nfn x_widened(") {
            Some(from) => text[..from].to_string() + &text[from + text[from..].find("\n}\n").map_or(0, |to| to + 3)..],
            None => text,
        };
        Self::without_unused(text, std::iter::once(at).chain(self.first..self.first + self.binds.len()))
    }
}
