//! What can be known of a kernel without running it: that it is valid, that it translates to every API, and that
//! what Rust binds, passes and launches is what the text declares. Needs no GPU.
//!
//! All failures come in one report, each with the launch that first met it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess, TypeInner};
use wgrad::device::Shader;
use wgrad::tensor::{LoweredDispatch, LoweredWork, Slot, Virtual};

use crate::launches::{self, Launch};
use crate::uniformity;

/// WebGPU's default limits. A lowering is told of more only where the adapter has more.
const MAX_INVOCATIONS: u32 = 256;
const MAX_PARAMS: usize = 128;
const MAX_GROUPS: usize = 65535;

/// Files of `shaders/` that no op of the registry launches, and who does.
const NOT_OF_AN_OP: &[(&str, &str)] = &[];

/// A file that is only launched on halves, so that the planner has changed its loads in every text, and how it loads.
const ONLY_ON_HALVES: (&str, [&str; 2]) = ("matmul_coop.wgsl", ["a[u32(at) / 4u]", "b[u32(at) / 4u]"]);

#[test]
fn every_launch_fits_its_shader_and_every_shader_every_api() {
    let lowered = launches::all();
    assert!(!lowered.launches.is_empty(), "no sample of the registry launches anything: nothing was checked");
    let mut report = Report::default();
    let mut checked = Checked::default();
    for launch in &lowered.launches {
        checked.check(launch, &mut report);
    }
    println!("{} launches, {} texts, {} kernels", lowered.launches.len(), checked.modules.len(), checked.kernels.len());
    report.finish();
}

/// On a software rasteriser: arrays of any name become textures, of one element to a texel or of four; those that are
/// read once stay, and so do those whose number is of both kinds.
#[test]
fn what_is_only_read_becomes_textures() {
    let shader = Shader::new(
        "test",
        "@group(0) @binding(0) var<storage, read> i: array<f32>;
        @group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
        @group(0) @binding(2) var<storage, read> one: array<u32>;
        @group(0) @binding(2) var<storage, read> four: array<vec4<f32>>;
        @group(0) @binding(3) var<storage, read> last: array<vec4<f32>>; // read once
        @group(0) @binding(4) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            y[id.x] = i[id.x + u32(x[id.x / 4u].x)] + f32(one[id.y]) + last[id.z].x;
        }
        @compute @workgroup_size(64) fn other(@builtin(global_invocation_id) id: vec3<u32>) {
            y[id.x] = i[u32(i[id.x])] + four[id.x].z;
        }"
        .replace("\n        ", "\n")
        .leak(),
    );
    let (text, textures) = shader.with_textures(8);
    assert_eq!(format!("{textures:?}"), "[(0, One), (1, Four)]");
    parse(&text, Capabilities::empty()).unwrap();
    assert_eq!(shader.with_textures(1).1, [], "more than an adapter takes");
}

/// Every file on disk is part of a launched text, so every file is checked above.
#[test]
fn no_shader_and_no_entry_point_is_an_orphan() {
    let launched: Vec<&Launch> = launches::all().launches.iter().collect();
    let texts: HashSet<&str> = launched.iter().map(|l| &*l.dispatch.shader.source).collect();
    let entries: HashSet<(&str, &str)> =
        launched.iter().map(|l| (&*l.dispatch.shader.name, l.dispatch.entry)).collect();
    let mut report = Report::default();
    assert!(!files("").is_empty(), "no .wgsl file in shaders/: nothing was checked");
    let excepted = |name: &str| NOT_OF_AN_OP.iter().any(|&(other, _)| other == name);
    let fragments = files("shared").into_iter().map(|(name, text)| (format!("shared/{name}"), text));
    for (name, text) in fragments.chain(files("")).filter(|(name, _)| !excepted(name)) {
        // Fused kernels contain those functions of a fragment that they call.
        let loads = if name == ONLY_ON_HALVES.0 { &ONLY_ON_HALVES.1[..] } else { &[] };
        let as_launched = |text: String, load: &&str| {
            let (array, index) = load.split_once('[').expect("an element");
            text.replace(*load, &format!("{array}_widened(u32({}))", index.trim_end_matches(']')))
        };
        let text = loads.iter().fold(text, as_launched);
        let mut parts = text.split("\n\n").filter(|part| part.contains("fn ") || part.contains("struct "));
        if !parts.all(|part| texts.iter().any(|t| t.contains(part.trim_end()))) {
            report.add(name, "on disk", "no sample of the registry launches it".into());
            continue;
        }
        let stem = name.trim_end_matches(".wgsl");
        for entry in entry_points(&text) {
            if !entries.contains(&(stem, entry)) {
                let problem = "no sample launches this entry point, or its `Shader` is not named like its file".into();
                report.add(format!("{stem}/{entry}"), "on disk", problem);
            }
        }
    }
    for (name, why) in NOT_OF_AN_OP {
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(name).exists() {
            report.add(name.to_string(), "the list of exceptions", format!("there is no such file ({why})"));
        }
    }
    report.finish();
}

/// The checker is checked: each of these mistakes must be found, and the launch without a mistake must pass.
#[test]
fn every_kind_of_mistake_is_found() {
    wgrad::params! { struct Params { n: u32, scale: f32 } }
    wgrad::params! { struct Swapped { scale: f32, n: u32 } }
    const TEXT: &str = "override WG: u32 = 64u;
        struct Params { n: u32, scale: f32 }
        var<immediate> p: Params;
        @group(0) @binding(0) var<storage, read> x: array<f32>;
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        var<workgroup> tile: array<f32, 64>;
        @compute @workgroup_size(WG) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            tile[id.x % 64u] = x[id.x];
            workgroupBarrier();
            if id.x < p.n { y[id.x] = tile[id.x % 64u] * p.scale; }
        }";
    let slot = |buffer| Slot { buffer: Virtual(buffer), offset: 0, len: 64, half: false };
    let of = |text: &'static str| {
        let shader = Shader::new("test", text);
        let params = Params { n: 64, scale: 2.0 };
        LoweredDispatch::new(&shader, "main").read(slot(0)).write(slot(1)).params(&params).flat(64, 64)
    };
    let text = |from: &str, to: &str| {
        assert!(TEXT.contains(from));
        of(Box::leak(TEXT.replacen(from, to, 1).into_boxed_str()))
    };
    let with = |change: &dyn Fn(&mut LoweredDispatch)| {
        let mut launch = of(TEXT);
        change(&mut launch);
        launch
    };
    let unused = Slot { offset: 32, ..slot(2) };
    let cases: Vec<(LoweredDispatch, &str)> = vec![
        (of(TEXT), ""),
        (text("id.x < p.n", "id.x < n"), "no definition in scope"),
        (text("id.x < p.n", "id.x < p.scale"), "Operation Less"),
        (text("workgroupBarrier();", "if id.x < p.n { workgroupBarrier(); }"), "not reached by all"),
        (text("x[id.x];", "subgroupAdd(x[id.x]);"), "subgroup"),
        (of(TEXT).constant("WIDTH", 4), "WIDTH"),
        (text("fn main", "fn forward"), "no such entry point"),
        (text("x[id.x];", "1.0;"), "binding 0 is bound, and the entry point does not use it"),
        (with(&|l| l.bindings.truncate(1)), "nothing is bound there"),
        (with(&|l| l.bindings[0].write = true), "bound for writing, and declared for reading"),
        (text("y[id.x] = ", "var z = y[0]; z = "), "never written"),
        (with(&|l| l.bindings[0].slot = slot(1)), "the same buffer for reading"),
        (with(&|l| l.bindings[1].slot = unused), "no multiple of 256"),
        (of(TEXT).params(&Swapped { n: 64, scale: 2.0 }), "in the shader and"),
        (with(&|l| l.params.truncate(4)), "bytes"),
        (text("scale: f32 }", "scale: f32, more: vec2<f32> }"), "only u32, i32 and f32"),
        (text("p: Params", "params: Params"), "no definition in scope"),
        (of(TEXT).constant("WG", 128), "launched in workgroups of 64"),
        (of(TEXT).constant("WG", 512).flat(512, 512), "512 invocations"),
        (text("array<f32, 64>", "array<f32, 4097>"), "bytes of workgroup memory"),
        (of(TEXT).groups(65536, 1, 1), "65536"),
    ];
    for (dispatch, expected) in cases {
        let mut report = Report::default();
        let launch = Launch { call: "a test".into(), adapter: &launches::ADAPTERS[0], dispatch };
        Checked::default().check(&launch, &mut report);
        let found = format!("{:?}", report.0);
        assert!(found.contains(expected) && (found == "{}") == expected.is_empty(), "expected {expected:?}: {found}");
    }
}

/// The names behind `@compute`, by text: a file that needs fragments in front does not parse alone.
fn entry_points(text: &str) -> Vec<&str> {
    text.split("@compute")
        .skip(1)
        .filter_map(|after| after.split_once("fn ")?.1.split('(').next())
        .map(str::trim)
        .collect()
}

/// The `.wgsl` files of `shaders/` or a folder in it, by name.
pub fn files(folder: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders").join(folder);
    let mut all = BTreeMap::new();
    for file in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "wgsl") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            all.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    all
}

/// Failures by what failed, each with the first launch that met it.
#[derive(Default)]
struct Report(BTreeMap<(String, String), String>);

impl Report {
    fn add(&mut self, what: String, first: &str, problem: String) {
        self.0.entry((what, problem)).or_insert_with(|| first.to_string());
    }

    fn finish(self) {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|((what, problem), first)| format!("{what}: {problem}\n    first met: {first}"))
            .collect();
        assert!(lines.is_empty(), "{} failures\n\n{}", lines.len(), lines.join("\n\n"));
    }
}

type Valid = (Module, ModuleInfo);

fn parse(text: &str, capabilities: Capabilities) -> Result<Valid, String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let info =
        Validator::new(ValidationFlags::all(), capabilities).validate(&module).map_err(|e| e.emit_to_string(text))?;
    Ok((module, info))
}

/// What makes one compiled kernel: text, entry point, constants, and whether subgroup operations are allowed.
type Kernel = (Shader, &'static str, Vec<(&'static str, u64)>, bool);

/// What was checked before, so that each text is parsed and each kernel translated once.
#[derive(Default)]
struct Checked {
    /// As an adapter with immediates takes it, as one without, and as a software rasteriser.
    modules: HashMap<(String, bool), Option<[Valid; 3]>>,
    entries: HashSet<(String, &'static str)>,
    kernels: HashMap<Kernel, Option<Extent>>,
}

/// What a kernel says of its size once its constants are set.
#[derive(Clone, Copy)]
struct Extent {
    workgroup: [u32; 3],
    memory: u32,
}

impl Checked {
    fn check(&mut self, launch: &Launch, report: &mut Report) {
        let d = &launch.dispatch;
        let subgroups = launch.adapter.caps.subgroup > 0;
        let label = format!("{}/{} {:?}", d.shader.name, d.entry, d.constants);
        let first = format!("{} on {}", launch.call, launch.adapter.name);
        let mut say = |problem: String| report.add(label.clone(), &first, problem);

        let mut allowed = if subgroups { Capabilities::SUBGROUP } else { Capabilities::empty() };
        allowed |= Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        allowed.set(Capabilities::SHADER_FLOAT16, launch.adapter.caps.native_half);
        allowed.set(Capabilities::COOPERATIVE_MATRIX, launch.adapter.caps.matrices > 0);
        let module = self.modules.entry((d.shader.source.to_string(), subgroups)).or_insert_with(|| {
            let immediates = parse(&d.shader.source, allowed | Capabilities::IMMEDIATES);
            let uniform =
                parse(&d.shader.with_uniform_params().source, allowed).map_err(|e| format!("without immediates: {e}"));
            let textures = parse(&d.shader.with_textures(u32::MAX).0, allowed | Capabilities::IMMEDIATES)
                .map_err(|e| format!("with textures: {e}"));
            Some([
                immediates.map_err(&mut say).ok()?,
                uniform.map_err(&mut say).ok()?,
                textures.map_err(&mut say).ok()?,
            ])
        });
        let Some(forms) = module else { return };
        let (module, info) = &forms[0];
        let Some(index) = module.entry_points.iter().position(|e| e.name == d.entry) else {
            return say("no such entry point".into());
        };
        if self.entries.insert((d.shader.source.to_string(), d.entry)) {
            uniformity::faults(&d.shader.source, module, index).into_iter().for_each(&mut say);
        }
        bindings(launch, module, info, index, &mut say);
        params(launch, module, info, index, &mut say);

        let constants: Vec<_> = d.constants.iter().map(|&(name, value)| (name, value.to_bits())).collect();
        let extent = *self
            .kernels
            .entry((d.shader.clone(), d.entry, constants, subgroups))
            .or_insert_with(|| forms.each_ref().map(|form| translate(launch, form, &mut say))[0]);
        if let Some(extent) = extent {
            size(launch, extent, &mut say);
        }
    }
}

/// Whether a kernel is one for adapters with cooperative matrices.
fn has_matrices(d: &LoweredDispatch) -> bool {
    d.shader.source.contains("enable wgpu_cooperative_matrix;")
}

/// Translates a kernel with its constants to the three languages.
fn translate(launch: &Launch, (module, info): &Valid, say: &mut dyn FnMut(String)) -> Option<Extent> {
    let d = &launch.dispatch;
    let constants = d.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
    let entry = (ShaderStage::Compute, d.entry.to_string());
    let resolved =
        naga::back::pipeline_constants::process_overrides(module, info, Some((entry.0, d.entry)), &constants);
    let (module, info) = match resolved {
        Ok(resolved) => resolved,
        Err(e) => {
            say(format!("with its constants: {e}"));
            return None;
        }
    };
    let mut into = |language: &str, write: &dyn Fn() -> Result<(), String>| {
        // The writers panic on what they have not foreseen.
        match catch_unwind(AssertUnwindSafe(write)) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => say(format!("does not translate to {language}: {e}")),
            Err(_) => say(format!("the translator to {language} panics")),
        }
    };
    into("SPIR-V", &|| {
        use naga::back::spv;
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        let pipeline = spv::PipelineOptions { shader_stage: entry.0, entry_point: entry.1.clone() };
        spv::write_vec(&module, &info, &options, Some(&pipeline)).map(drop).map_err(|e| e.to_string())
    });
    into("MSL", &|| {
        use naga::back::msl;
        let options = msl::Options { lang_version: (2, 3), ..Default::default() };
        let pipeline = msl::PipelineOptions { entry_point: Some(entry.clone()), ..Default::default() };
        msl::write_string(&module, &info, &options, &pipeline).map(drop).map_err(|e| e.to_string())
    });
    let hlsl = || {
        use naga::back::hlsl;
        let target = hlsl::BindTarget { space: 1, ..Default::default() };
        let shader_model = hlsl::ShaderModel::V6_2;
        let options = hlsl::Options { shader_model, immediates_target: Some(target), ..Default::default() };
        let pipeline = hlsl::PipelineOptions { entry_point: Some(entry.clone()) };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&module, &info, None)
            .map(drop)
            .map_err(|e| e.to_string())
    };
    // DX12 has no cooperative matrices.
    if !has_matrices(d) {
        into("HLSL", &hlsl);
    }
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("the module is valid");
    let workgroup_variables = module.global_variables.iter().filter(|(_, v)| v.space == AddressSpace::WorkGroup);
    Some(Extent {
        workgroup: module.entry_points[0].workgroup_size,
        // Drivers place each variable at a multiple of 16.
        memory: workgroup_variables.map(|(_, v)| layouter[v.ty].size.next_multiple_of(16)).sum(),
    })
}

/// What Rust binds is what the entry point uses: the layout of a bind group is made from the text.
fn bindings(launch: &Launch, module: &Module, info: &ModuleInfo, entry: usize, say: &mut dyn FnMut(String)) {
    let d = &launch.dispatch;
    let uses = info.get_entry_point(entry);
    let mut declared = BTreeMap::new();
    for (handle, variable) in module.global_variables.iter() {
        let (Some(at), false) = (&variable.binding, uses[handle].is_empty()) else { continue };
        let name = variable.name.as_deref().unwrap_or("?");
        match variable.space {
            AddressSpace::Storage { access } if at.group == 0 => {
                declared.insert(at.binding as usize, (name, access.contains(StorageAccess::STORE), uses[handle]));
            }
            space => say(format!("`{name}` is in group {} and {space:?}; only storage in group 0 is bound", at.group)),
        }
    }
    for (k, bind) in d.bindings.iter().enumerate() {
        match declared.remove(&k) {
            None => say(format!("binding {k} is bound, and the entry point does not use it")),
            Some((name, writable, _)) if writable != bind.write => say(format!(
                "binding {k} `{name}` is bound for {}, and declared for {}",
                if bind.write { "writing" } else { "reading" },
                if writable { "writing" } else { "reading" },
            )),
            Some((name, true, used)) if !used.intersects(GlobalUse::WRITE | GlobalUse::ATOMIC) => {
                say(format!("binding {k} `{name}` is bound for writing, and never written"));
            }
            Some(_) => {}
        }
        let (first, bytes) = bind.slot.bytes();
        if !first.is_multiple_of(256) {
            say(format!("binding {k} starts at byte {first}, which is no multiple of 256"));
        }
        if bytes > launch.adapter.caps.max_binding {
            say(format!("binding {k} of {} elements is longer than the adapter allows", bind.slot.len));
        }
        let aliased = |other: &&wgrad::tensor::Bind| other.slot.buffer == bind.slot.buffer && !other.write;
        if bind.write && d.bindings.iter().any(|other| aliased(&other)) {
            say(format!("binding {k} is bound for writing, and the same buffer for reading"));
        }
    }
    for (k, (name, ..)) in declared {
        say(format!("binding {k} `{name}` is used by the entry point, and nothing is bound there"));
    }
    if d.bindings.len() > launch.adapter.caps.max_bindings as usize {
        say(format!("{} storage buffers, of {} allowed", d.bindings.len(), launch.adapter.caps.max_bindings));
    }
}

/// The struct of parameters is the same in both languages, to the byte.
fn params(launch: &Launch, module: &Module, info: &ModuleInfo, entry: usize, say: &mut dyn FnMut(String)) {
    let d = &launch.dispatch;
    let declared = module.global_variables.iter().find(|(_, v)| v.space == AddressSpace::Immediate);
    let Some((handle, variable)) = declared else {
        if !d.params.is_empty() {
            say("parameters are given, and the shader declares no `var<immediate> p: Params;`".into());
        }
        return;
    };
    if info.get_entry_point(entry)[handle].is_empty() {
        say("the entry point does not use the parameters its shader declares".into());
    }
    if d.shader.source.matches("var<immediate>").count() != 1 || !d.shader.source.contains("var<immediate> p: Params;")
    {
        say("parameters must be declared as `var<immediate> p: Params;`, once".into());
    }
    let TypeInner::Struct { members, span } = &module.types[variable.ty].inner else {
        return say("`Params` is not a struct".into());
    };
    let text: Vec<(&str, usize)> =
        members.iter().map(|m| (m.name.as_deref().unwrap_or("?"), m.offset as usize)).collect();
    if text != *d.fields {
        say(format!("`Params` is {text:?} in the shader and {:?} in Rust", d.fields));
    }
    for member in members {
        match module.types[member.ty].inner {
            TypeInner::Scalar(naga::Scalar { width: 4, .. }) => {}
            ref other => say(format!("`Params` holds {other:?}; only u32, i32 and f32 lie alike in all APIs")),
        }
    }
    if *span as usize != d.params.len() || d.params.len() > MAX_PARAMS {
        say(format!("`Params` takes {span} bytes, {} are given, {MAX_PARAMS} are allowed", d.params.len()));
    }
}

/// The extent of a launch, within WebGPU's default limits.
fn size(launch: &Launch, extent: Extent, say: &mut dyn FnMut(String)) {
    let invocations: u32 = extent.workgroup.iter().product();
    let most = launch.adapter.caps.merge.max(MAX_INVOCATIONS);
    if invocations == 0 || invocations > most {
        say(format!("workgroups of {:?} have {invocations} invocations, of {most}", extent.workgroup));
    }
    if extent.workgroup[2] > 64 {
        say(format!("workgroups of {:?}: at most 64 along z", extent.workgroup));
    }
    let most = launch.adapter.caps.workgroup_memory;
    if extent.memory > most {
        say(format!("{} bytes of workgroup memory, of {most}", extent.memory));
    }
    match launch.dispatch.work {
        LoweredWork::Flat(_, wg) if extent.workgroup != [wg, 1, 1] => {
            say(format!("launched in workgroups of {wg}, and declared in workgroups of {:?}", extent.workgroup));
        }
        LoweredWork::Flat(n, wg) if n.div_ceil(wg as usize) > MAX_GROUPS.pow(3) => say(format!("{n} invocations")),
        LoweredWork::Groups(groups) if groups.iter().any(|&g| g == 0 || g > MAX_GROUPS) => {
            say(format!("{groups:?} workgroups: each from 1 to {MAX_GROUPS}"));
        }
        _ => {}
    }
}
