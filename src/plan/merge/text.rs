//! The text of a merged launch, made of the texts of the launches in it.
//!
//! A kernel's file stays what it is. Of its text those declarations are taken that its entry point needs, under names
//! of their own; its parameters become a variable that is set before it runs, its arrays become places in the buffers
//! of the merged launch, and its entry point becomes a function of the number of its workgroup. Functions and structs
//! that know nothing of the kernel (`shaders/shared/math.wgsl`) are there once for all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use super::super::halves::uses;
use crate::device::Shader;
use crate::tensor::LoweredDispatch;

/// What a declaration at module scope is.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Function,
    /// A function that a launch may start, with the built-in values it is given, in order.
    Entry(Vec<String>),
    Struct,
    Constant,
    /// An `override`, with its type.
    Override(String),
    /// Of an array of these elements at a binding.
    Array(usize, String),
    Params,
    Workgroup,
    Private,
}

#[derive(Debug)]
struct Declaration {
    kind: Kind,
    name: String,
    text: String,
    /// The names of other declarations in it.
    names: BTreeSet<String>,
}

/// The declarations that one entry point needs.
#[derive(Debug)]
pub(super) struct Kernel {
    entry: String,
    declarations: Vec<Declaration>,
    /// Name and type of each parameter.
    params: Vec<(String, String)>,
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A text as words and what stands between them, comments left out.
fn tokens(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        let end = if in_word(c) { rest.find(|c| !in_word(c)).unwrap_or(rest.len()) } else { c.len_utf8() };
        all.push(&rest[..end]);
        rest = &rest[end..];
    }
    all
}

/// A text cut where a declaration at module scope ends.
fn cut(text: &str) -> Vec<String> {
    let (mut all, mut one, mut depth) = (Vec::new(), String::new(), 0usize);
    for token in tokens(text) {
        one += token;
        match token {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (token == ";" || token == "}") {
            all.push(std::mem::take(&mut one).trim().to_string());
        }
    }
    all
}

/// The text between a declaration's name and its end, after this word: `u32 = 64u` of `override WG: u32 = 64u;`.
fn named(code: &str, keyword: &str) -> Option<(String, String)> {
    let rest = code.strip_prefix(keyword)?;
    let end = rest.find(|c| !in_word(c))?;
    Some((rest[..end].to_string(), rest[end..].trim_start_matches(':').trim().to_string()))
}

impl Declaration {
    /// `None` for what is of no kind that is known.
    fn of(text: String) -> Option<Declaration> {
        let make = |kind, name: String, text: String| Some(Declaration { kind, name, text, names: BTreeSet::new() });
        if let Some(rest) = text.strip_prefix("@compute @workgroup_size(WG)") {
            let (name, _) = named(rest.trim_start(), "fn ")?;
            let (head, body) = rest.split_once(") {")?;
            let (_, arguments) = head.split_once('(')?;
            let (mut builtins, mut plain) = (Vec::new(), Vec::new());
            for argument in arguments.split(',').map(str::trim).filter(|a| !a.is_empty()) {
                let (builtin, declared) = argument.strip_prefix("@builtin(")?.split_once(')')?;
                builtins.push(builtin.to_string());
                plain.push(declared.trim());
            }
            let text = format!("fn {name}({}) {{{body}", plain.join(", "));
            return make(Kind::Entry(builtins), name, text);
        }
        if let Some(rest) = text.strip_prefix("@group(0) @binding(") {
            let (binding, rest) = rest.split_once(") var<storage, ")?;
            let (_, rest) = rest.split_once("> ")?;
            let (name, element) = rest.split_once(": array<")?;
            let kind = Kind::Array(binding.parse().ok()?, element.strip_suffix(">;")?.to_string());
            return make(kind, name.to_string(), String::new());
        }
        for (keyword, kind) in [
            ("fn ", Kind::Function),
            ("struct ", Kind::Struct),
            ("const ", Kind::Constant),
            ("var<immediate> ", Kind::Params),
            ("var<workgroup> ", Kind::Workgroup),
            ("var<private> ", Kind::Private),
        ] {
            if let Some((name, _)) = named(&text, keyword) {
                return make(kind, name, text);
            }
        }
        let (name, rest) = named(&text, "override ")?;
        let (type_, _) = rest.split_once(" =")?;
        make(Kind::Override(type_.trim().to_string()), name, text.clone())
    }
}

/// Each word of a declaration that is a name of module scope, as `change` has it: not members of structs.
fn renamed(text: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let all = tokens(text);
    let is_struct = text.starts_with("struct ");
    let mut out = String::with_capacity(text.len());
    for (at, token) in all.iter().enumerate() {
        let member = out.trim_end().ends_with('.') || (is_struct && all.get(at + 1) == Some(&":"));
        match change(token) {
            Some(new) if !member => out += &new,
            _ => out += token,
        }
    }
    out
}

impl Kernel {
    /// What a launch runs; `None` if its text is of a form that is not known.
    pub fn of(shader: &Shader, entry: &str) -> Option<Kernel> {
        let all: Vec<Declaration> = cut(&shader.source)
            .into_iter()
            // Entry points of other forms are not wanted here.
            .filter(|text| !text.starts_with("@compute") || text.contains(&format!("fn {entry}(")))
            .map(Declaration::of)
            .collect::<Option<_>>()?;
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        all.iter().enumerate().for_each(|(i, d)| by_name.entry(&d.name).or_default().push(i));
        let names: Vec<BTreeSet<String>> = all
            .iter()
            .map(|d| {
                let words = tokens(&d.text);
                let followed = |at: usize| words.get(at + 1) == Some(&"[");
                let is_named = |&(at, word): &(usize, &&str)| {
                    let named = by_name.get(*word).is_some_and(|found| {
                        // Arguments and local variables may have the name of an array, but are no arrays.
                        found.iter().any(|&i| followed(at) || !matches!(all[i].kind, Kind::Array(..)))
                    });
                    named && !(at > 0 && words[at - 1] == ".") && **word != d.name
                };
                words.iter().enumerate().filter(is_named).map(|(_, word)| word.to_string()).collect()
            })
            .collect();
        let mut needed = BTreeSet::new();
        let mut open: Vec<usize> =
            by_name.get(entry)?.iter().copied().filter(|&i| matches!(all[i].kind, Kind::Entry(_))).collect();
        while let Some(i) = open.pop() {
            if needed.insert(i) {
                open.extend(names[i].iter().flat_map(|name| &by_name[name.as_str()]));
            }
        }
        let mut declarations: Vec<Declaration> = all
            .into_iter()
            .zip(names)
            .enumerate()
            .filter(|(i, _)| needed.contains(i))
            .map(|(_, (d, names))| Declaration { names, ..d })
            .collect();
        let uses_params = declarations.iter().any(|d| d.kind == Kind::Params);
        let params = match declarations.iter().find(|d| uses_params && d.name == "Params") {
            Some(declared) => {
                let (_, members) = declared.text.trim_end_matches('}').split_once('{')?;
                let member = |m: &str| m.split_once(':').map(|(n, t)| (n.trim().to_string(), t.trim().to_string()));
                members.split(',').filter(|m| !m.trim().is_empty()).map(member).collect::<Option<_>>()?
            }
            None => Vec::new(),
        };
        declarations.sort_by_key(|d| matches!(d.kind, Kind::Entry(_)));
        Some(Kernel { entry: entry.to_string(), declarations, params })
    }

    /// How many words of parameters it reads; none if it has no use for them.
    pub fn words(&self) -> usize {
        self.params.len()
    }

    /// The type of the elements that it has at a binding.
    pub fn element(&self, binding: usize) -> Option<&str> {
        self.declarations.iter().find_map(|d| match &d.kind {
            Kind::Array(at, element) if *at == binding => Some(element.as_str()),
            _ => None,
        })
    }
}

/// A number that is the same, or grows by the same, in each turn of a loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Steady {
    pub first: u32,
    pub step: u32,
}

impl Steady {
    fn written(self) -> String {
        match self.step {
            0 => format!("{}u", self.first),
            step => format!("({}u + turn_now * {step}u)", self.first),
        }
    }
}

/// Where a parameter comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Word {
    Number(Steady),
    /// Word `k` of the parameters of the merged launch.
    Given(usize),
}

/// One launch within a merged one.
pub(super) struct Section<'a> {
    pub dispatch: &'a LoweredDispatch,
    pub kernel: &'a Kernel,
    /// Per binding: the array of the merged launch, and the first element in it.
    pub places: Vec<(usize, Steady)>,
    /// Per binding: the elements of that array which it has in all turns together, and whether it is written.
    pub spans: Vec<(Range<usize>, bool)>,
    pub params: Vec<Word>,
    /// Workgroups.
    pub groups: usize,
}

/// Elements of an array of a merged launch.
type Span = (usize, Range<usize>);

impl Section<'_> {
    /// What it reads and writes, and which of the two.
    fn touched(&self) -> impl Iterator<Item = (Span, bool)> {
        self.places.iter().zip(&self.spans).map(|((array, _), (span, write))| ((*array, span.clone()), *write))
    }
}

/// Sections that run in turn, so often.
pub(super) struct Turns<'a> {
    pub count: usize,
    pub sections: Vec<Section<'a>>,
}

/// Where an array of a merged launch lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Lies {
    /// In a buffer that is bound.
    Bound { write: bool },
    /// In workgroup memory, with so many elements.
    Within(usize),
}

/// The text of a merged launch, as it grows.
pub(super) struct Text {
    /// What all sections share: name and text.
    shared: BTreeMap<String, String>,
    own: String,
    body: String,
    /// Types of the parameters.
    given: Vec<String>,
    sections: usize,
    /// Types of the elements of the arrays, and where these lie.
    arrays: Vec<(&'static str, Lies)>,
    /// What was written of bound arrays since the last barrier for such.
    fresh: Vec<Span>,
    size: u32,
}

/// The names that a merged text has for itself.
const RESERVED: [&str; 3] = ["turn_now", "merged", "memory"];

impl Text {
    /// For arrays of these elements, `given` words of parameters, and workgroups of this size.
    pub fn new(arrays: Vec<(&'static str, Lies)>, given: usize, size: u32) -> Text {
        let given = vec!["u32".to_string(); given];
        let (shared, own, body, fresh) = (BTreeMap::new(), String::new(), String::new(), Vec::new());
        Text { shared, own, body, given, sections: 0, arrays, fresh, size }
    }

    /// The barriers before a section that comes after others: what they wrote it may read, and what they read it may
    /// overwrite.
    fn barriers(&mut self, section: &Section, inside: &str) -> String {
        let mut lines = String::new();
        // Only this one makes what others wrote to a buffer visible, and it is dear.
        let meets = |a: &Span, b: &Span| a.0 == b.0 && a.1.start < b.1.end && b.1.start < a.1.end;
        if section.touched().any(|(span, _)| self.fresh.iter().any(|written| meets(&span, written))) {
            lines += &format!("{inside}storageBarrier();\n");
            self.fresh.clear();
        }
        let within = self.arrays.iter().any(|(_, lies)| matches!(lies, Lies::Within(_)));
        if within || lines.is_empty() {
            lines += &format!("{inside}workgroupBarrier();\n");
        }
        lines
    }

    /// What a section writes of bound arrays.
    fn written(&self, section: &Section) -> Vec<Span> {
        let bound = |(array, _): &Span| matches!(self.arrays[*array].1, Lies::Bound { .. });
        section.touched().filter(|(span, write)| *write && bound(span)).map(|(span, _)| span).collect()
    }

    /// Appends sections; `None` if one of them cannot be written.
    pub fn push(&mut self, turns: &Turns) -> Option<()> {
        let inside = if turns.count > 1 { "        " } else { "    " };
        let mut calls = String::new();
        if turns.count > 1 {
            // What a turn wrote the next one may read.
            let written: Vec<Span> = turns.sections.iter().flat_map(|section| self.written(section)).collect();
            self.fresh.extend(written);
        }
        for section in &turns.sections {
            if turns.count > 1 || self.sections > 0 {
                calls += &self.barriers(section, inside);
            }
            calls += &self.section(section, inside)?;
            let written = self.written(section);
            self.fresh.extend(written);
        }
        self.body += &match turns.count {
            1 => calls,
            count => format!("    for (var t = 0u; t < {count}u; t += 1u) {{\n        turn_now = t;\n{calls}    }}\n"),
        };
        Some(())
    }

    /// Declares what a section needs, and returns the lines that run it.
    fn section(&mut self, section: &Section, inside: &str) -> Option<String> {
        let (kernel, number) = (section.kernel, self.sections);
        self.sections += 1;
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for d in &kernel.declarations {
            if RESERVED.iter().any(|word| d.name.starts_with(word)) {
                return None;
            }
            if !matches!(d.kind, Kind::Array(..)) && !self.share(kernel, d) {
                names.insert(&d.name, format!("{}_{number}", d.name));
            }
        }
        for d in kernel.declarations.iter().filter(|d| names.contains_key(d.name.as_str())) {
            let text = self.declaration(section, d)?;
            self.own += &format!("\n{}\n", renamed(&text, |word| names.get(word).cloned()));
        }
        let d = section.dispatch;
        let mut lines = format!("{inside}// {}/{}\n", d.shader.name, d.entry);
        if !kernel.params.is_empty() {
            let values = kernel.params.iter().zip(&section.params);
            let values: Vec<String> =
                values.map(|((_, type_), word)| self.value(type_, *word)).collect::<Option<_>>()?;
            lines += &format!("{inside}p_{number} = Params_{number}({});\n", values.join(", "));
        }
        let Kind::Entry(builtins) = &kernel.declarations.last()?.kind else { return None };
        let groups = section.groups;
        let (at, around) = match groups {
            1 => ("vec3<u32>()", None),
            _ => ("vec3<u32>(g, 0u, 0u)", Some(format!("for (var g = 0u; g < {groups}u; g += 1u)"))),
        };
        let argument = |builtin: &String| match builtin.as_str() {
            "workgroup_id" => Some(at.to_string()),
            "num_workgroups" => Some(format!("vec3<u32>({groups}u, 1u, 1u)")),
            "local_invocation_index" => Some("local".to_string()),
            _ => None,
        };
        let arguments: Vec<String> = builtins.iter().map(argument).collect::<Option<_>>()?;
        let call = format!("{}({});", names.get(kernel.entry.as_str())?, arguments.join(", "));
        lines += &match around {
            Some(head) => format!("{inside}{head} {{\n{inside}    {call}\n{inside}}}\n"),
            None => format!("{inside}{call}\n"),
        };
        Some(lines)
    }

    /// Whether a declaration is there for all: it knows nothing of its kernel, and no other has its name.
    fn share(&mut self, kernel: &Kernel, d: &Declaration) -> bool {
        let of = |name: &String| kernel.declarations.iter().find(|d| d.name == *name);
        let free = matches!(d.kind, Kind::Function | Kind::Struct | Kind::Constant)
            && !(d.name == "Params" && d.kind == Kind::Struct)
            && d.names.iter().all(|name| of(name).is_some_and(|d| self.share(kernel, d)));
        free && *self.shared.entry(d.name.clone()).or_insert_with(|| d.text.clone()) == d.text
    }

    /// A declaration of a section, under its old name.
    fn declaration(&self, section: &Section, d: &Declaration) -> Option<String> {
        let constant =
            |name: &str| section.dispatch.constants.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        Some(match &d.kind {
            // All sections have workgroups of one size.
            Kind::Override(_) if d.name == "WG" => format!("const WG: u32 = {}u;", self.size),
            Kind::Override(type_) => match (constant(&d.name), type_.as_str()) {
                (Some(value), "bool") => format!("const {}: bool = {};", d.name, value != 0.0),
                (Some(value), "u32") => format!("const {}: u32 = {}u;", d.name, value as u32),
                (Some(_), _) => return None,
                (None, _) => d.text.replacen("override", "const", 1),
            },
            Kind::Params => "var<private> p: Params;".to_string(),
            // It is named where it is not used: for variants in which a workgroup shares its work.
            Kind::Workgroup => d.text.replace(", WG>", ", 1>"),
            Kind::Function | Kind::Entry(_) => {
                let mut text = d.text.clone();
                for array in kernel_arrays(section.kernel) {
                    let Kind::Array(binding, element) = &array.kind else { continue };
                    let &(memory, first) = section.places.get(*binding)?;
                    text = placed(&text, &array.name, element, (memory, self.arrays[memory].0), first)?;
                }
                text
            }
            _ => d.text.clone(),
        })
    }

    /// A parameter as text of its type.
    fn value(&mut self, type_: &str, word: Word) -> Option<String> {
        match (type_, word) {
            (_, Word::Given(k)) => {
                self.given[k] = type_.to_string();
                Some(format!("p.v{k}"))
            }
            ("u32", Word::Number(n)) => Some(n.written()),
            ("i32", Word::Number(n)) => Some(format!("bitcast<i32>({})", n.written())),
            ("f32", Word::Number(Steady { first, step: 0 })) => {
                let value = f32::from_bits(first);
                (value == 0.0 || value.is_normal()).then(|| format!("{value:?}f"))
            }
            _ => None,
        }
    }

    /// The whole.
    pub fn finish(self) -> String {
        let mut text =
            String::from("// Small launches in one workgroup, one after another, merged by the planner.\n\n");
        if !self.given.is_empty() {
            let members = self.given.iter().enumerate().map(|(k, type_)| format!("    v{k}: {type_},\n"));
            text += &format!("struct Params {{\n{}}}\n\nvar<immediate> p: Params;\n\n", members.collect::<String>());
        }
        let mut binding = 0;
        for (k, (element, lies)) in self.arrays.iter().enumerate() {
            text += &match lies {
                Lies::Within(len) => format!("var<workgroup> memory{k}: array<{element}, {len}>;\n"),
                Lies::Bound { write } => {
                    let access = if *write { "read_write" } else { "read" };
                    binding += 1;
                    let at = binding - 1;
                    format!("@group(0) @binding({at}) var<storage, {access}> memory{k}: array<{element}>;\n")
                }
            };
        }
        text += "\n// The turn of the loop that is running.\nvar<private> turn_now: u32;\n";
        self.shared.values().for_each(|declared| text += &format!("\n{declared}\n"));
        text += &self.own;
        text += &format!(
            "\n@compute @workgroup_size({})\nfn merged(@builtin(local_invocation_index) local: u32) {{\n{}}}\n",
            self.size, self.body
        );
        text
    }
}

fn kernel_arrays(kernel: &Kernel) -> impl Iterator<Item = &Declaration> {
    kernel.declarations.iter().filter(|d| matches!(d.kind, Kind::Array(..)))
}

/// A function whose array `name` begins at element `first` of array `memory` of the merged launch, bits for bits.
fn placed(text: &str, name: &str, element: &str, (memory, stored): (usize, &str), first: Steady) -> Option<String> {
    uses(text, name, |index, value| {
        let at = match (first.first, first.step) {
            (0, 0) => format!("memory{memory}[{index}]"),
            _ => format!("memory{memory}[{} + u32({index})]", first.written()),
        };
        Some(match value {
            Some(value) if element == stored => format!("{at} = {value}"),
            Some(value) => format!("{at} = bitcast<{stored}>({value})"),
            None if element == stored => at,
            None => format!("bitcast<{element}>({at})"),
        })
    })
}
