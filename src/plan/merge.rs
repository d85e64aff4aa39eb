//! Small launches in one: a step of a small network in one or few dispatches.
//!
//! On a GPU a launch that waits for the one before costs some 5 us, whatever it does, and a step of a small network is
//! a chain of launches that do next to nothing. So launches that follow each other, each so small that one workgroup is
//! done with it before another launch would have begun (`Caps::merges`), become one launch of one workgroup: it runs
//! them one after another, with a barrier after each. A pattern that comes back, such as the steps of a sequence,
//! becomes a loop.
//!
//! What runs is the text of the kernels' own files (`text`). A lowering says with `LoweredDispatch::independent` that a
//! kernel may be run that way: no invocation of it needs another of its workgroup. Nothing is computed otherwise than
//! by the launches apart.
//!
//! A software rasteriser hands a launch to its threads in some 50 us, so what one of them has done by then is merged
//! there too: a step of deep Q-learning, 13 launches, takes llvmpipe 0.33 ms in one and 0.75 apart.
//!
//! Values that only a merged launch touches never leave the processor: they lie in workgroup memory, each in the place
//! of one that is not needed any more, so that a barrier waits for nothing but the workgroup: the launch of a step of
//! deep Q-learning took an H200 35 us in place of 44. Those for which there is no room lie side by side in one buffer,
//! so that few are bound; and so do all of them in a program that is checked, which looks at them.

mod text;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use text::{Kernel, Lies, Section, Steady, Text, Turns, Word};

use super::gpu::{ALIGN_WORDS, Built, Kind, Launch};
use crate::device::Shader;
use crate::tensor::{Bind, LoweredDispatch, LoweredWork, Slot, Virtual};

/// A merged launch has no more sections than this: a driver takes its time for each of them.
const MOST_SECTIONS: usize = 32;
/// Launches in one turn of a loop.
const LONGEST_PATTERN: usize = 6;
/// Turns below which a pattern is not worth a loop.
const FEWEST_TURNS: usize = 3;

/// Bytes of workgroup memory that are left to what the kernels declare themselves.
const RESERVED_BYTES: usize = 1024;

/// Names of the words of parameters: 128 bytes.
const WORDS: [&str; 32] = [
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17",
    "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31",
];

/// Buffers that lie within another now, from a word of it on.
type Moved = HashMap<Virtual, (Virtual, usize)>;

/// Where the values lie that live within a merged launch.
struct Inside {
    moved: Moved,
    /// What stands for workgroup memory.
    workgroup: Virtual,
    /// The buffer for the others, and its bytes.
    buffer: (Virtual, usize),
}

/// Launches that run in turn: a pattern that comes back `count` times.
#[derive(Debug, Clone, PartialEq)]
struct Item {
    pattern: Range<usize>,
    count: usize,
}

impl Item {
    fn launches(&self) -> Range<usize> {
        self.pattern.start..self.pattern.start + self.count * self.pattern.len()
    }
}

/// Merges what is small, and lets the steps of each merged launch share it.
pub(super) fn merge(built: &mut Built) {
    let kernels = kernels(built);
    let lives = lives(&built.launches);
    let mut runs = Vec::new();
    for block in blocks(&kernels) {
        runs.extend(runs_of(&items(&built.launches, block), built, &lives));
    }
    let mut merged: Vec<(Range<usize>, Launch)> = Vec::new();
    for run in runs {
        let range = run[0].launches().start..run.last().map_or(0, |item| item.launches().end);
        let inside = inside(built, &lives, &range);
        if let Some(launch) = launch_of(built, &kernels, &run, &inside) {
            let (buffer, bytes) = inside.buffer;
            built.virtuals[buffer.0 as usize].1 = bytes;
            built.slots.values_mut().for_each(|slot| *slot = place(*slot, &inside.moved));
            merged.push((range, launch));
        }
    }
    let groups = built.program.groups();
    let mut joined = vec![false; built.program.steps.len()];
    groups.iter().for_each(|group| joined[group.start + 1..group.end].fill(true));
    let group_of = |step: usize| groups[groups.partition_point(|g| g.end <= step)].clone();
    for (range, launch) in merged.into_iter().rev() {
        let last = group_of(built.launches[range.end - 1].step);
        joined[launch.step + 1..last.end].fill(true);
        built.launches.splice(range, [launch]);
    }
    built.program.joined = joined;
    // What a group launches besides belongs to its first step too.
    let groups = built.program.groups();
    for launch in &mut built.launches {
        launch.step = groups[groups.partition_point(|g| g.end <= launch.step)].start;
    }
}

/// Per launch its kernel, if it may be merged.
fn kernels(built: &Built) -> Vec<Option<Rc<Kernel>>> {
    let mut known: HashMap<(Shader, &str), Option<Rc<Kernel>>> = HashMap::new();
    let mut of = |d: &LoweredDispatch| -> Option<Rc<Kernel>> {
        let LoweredWork::Flat(invocations, 64) = d.work else { return None };
        let halves = d.bindings.iter().any(|bind| bind.slot.half);
        if halves || !built.caps.merges(invocations, d.turns?) {
            return None;
        }
        let key = (d.shader.clone(), d.entry);
        let kernel = known.entry(key).or_insert_with(|| Kernel::of(&d.shader, d.entry).map(Rc::new)).clone()?;
        let scalars = (0..d.bindings.len()).all(|k| matches!(kernel.element(k), Some("f32" | "i32" | "u32")));
        (scalars && (kernel.words() == 0 || kernel.words() * 4 == d.params.len())).then_some(kernel)
    };
    built.launches.iter().map(|launch| of(&launch.dispatch)).collect()
}

/// The first and the last launch that touches each virtual buffer.
fn lives(launches: &[Launch]) -> HashMap<Virtual, (usize, usize)> {
    let mut lives = HashMap::new();
    for (at, launch) in launches.iter().enumerate() {
        for bind in &launch.dispatch.bindings {
            lives.entry(bind.slot.buffer).or_insert((at, at)).1 = at;
        }
    }
    lives
}

/// Where launches that may be merged follow each other.
fn blocks(kernels: &[Option<Rc<Kernel>>]) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for at in (0..kernels.len()).filter(|&at| kernels[at].is_some()) {
        match blocks.last_mut() {
            Some(block) if block.end == at => block.end = at + 1,
            _ => blocks.push(at..at + 1),
        }
    }
    blocks
}

/// The launches of a block as items: wherever a pattern comes back, the one that covers most.
fn items(launches: &[Launch], block: Range<usize>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut at = block.start;
    while at < block.end {
        let count = |length: usize| -> usize {
            let again = |k: usize| {
                let here = at + k * length;
                here + length <= block.end
                    && (0..length)
                        .all(|i| goes_on(&launches[at + i], &launches[at + length + i], &launches[here + i], k))
            };
            1 + (1..).take_while(|&k| again(k)).count()
        };
        let item = (1..=LONGEST_PATTERN.min(block.end - at))
            .map(|length| Item {
                pattern: at..at + length,
                count: if at + 2 * length <= block.end { count(length) } else { 1 },
            })
            .filter(|item| item.count >= FEWEST_TURNS)
            .max_by_key(|item| (item.launches().len(), LONGEST_PATTERN - item.pattern.len()))
            .unwrap_or(Item { pattern: at..at + 1, count: 1 });
        at = item.launches().end;
        items.push(item);
    }
    items
}

fn words(params: &[u8]) -> impl Iterator<Item = u32> {
    params.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// Whether launch `here` is what `first` becomes after `k` turns in which it grows as it does to `second`.
fn goes_on(first: &Launch, second: &Launch, here: &Launch, k: usize) -> bool {
    let (a, b, c) = (&first.dispatch, &second.dispatch, &here.dispatch);
    let plain = |l: &Launch| l.patches.is_empty();
    let steady = |x: u32, y: u32, z: u32| z == x.wrapping_add((k as u32).wrapping_mul(y.wrapping_sub(x)));
    let same = |a: &LoweredDispatch, b: &LoweredDispatch| {
        a.shader == b.shader
            && a.entry == b.entry
            && a.constants == b.constants
            && a.work == b.work
            && a.turns == b.turns
            && a.params.len() == b.params.len()
            && a.bindings.len() == b.bindings.len()
            && a.bindings.iter().zip(&b.bindings).all(|(a, b)| a.slot.buffer == b.slot.buffer && a.write == b.write)
    };
    let offset = |d: &LoweredDispatch, i: usize| d.bindings[i].slot.offset as u32;
    plain(first)
        && plain(here)
        && same(a, b)
        && same(a, c)
        && (0..a.bindings.len()).all(|i| steady(offset(a, i), offset(b, i), offset(c, i)))
        && words(&a.params).zip(words(&b.params)).zip(words(&c.params)).all(|((x, y), z)| steady(x, y, z))
}

/// Runs of items that fit one launch each, where that spares a launch.
fn runs_of(items: &[Item], built: &Built, lives: &HashMap<Virtual, (usize, usize)>) -> Vec<Vec<Item>> {
    let most = built.caps.max_bindings as usize;
    let mut runs = Vec::new();
    let mut at = 0;
    while at < items.len() {
        let start = items[at].launches().start;
        let (mut seen, mut given) = (HashSet::new(), HashSet::new());
        // Buffers that live on, those that may end in this launch, and whether some do.
        let (mut outside, mut open, mut inside) = (0, 0, false);
        let (mut sections, mut best) = (0, at);
        for (k, item) in items.iter().enumerate().skip(at) {
            sections += item.pattern.len();
            for l in item.launches() {
                let launch = &built.launches[l];
                given.extend(launch.patches.iter().map(|&(_, leaf)| leaf));
                let touched = launch.dispatch.bindings.iter().map(|bind| bind.slot.buffer);
                let mut ended: Vec<Virtual> = touched.clone().filter(|v| lives[v].1 == l).collect();
                ended.sort_by_key(|v| v.0);
                ended.dedup();
                for buffer in touched {
                    if seen.insert(buffer) {
                        match is_scratch(built, buffer) && lives[&buffer].0 >= start {
                            true => open += 1,
                            false => outside += 1,
                        }
                    }
                }
                let ends = ended.iter().filter(|v| is_scratch(built, **v) && lives[v].0 >= start).count();
                open -= ends;
                inside |= ends > 0;
            }
            if outside > most || sections > MOST_SECTIONS || given.len() > WORDS.len() {
                break;
            }
            if outside + open + inside as usize <= most {
                best = k + 1;
            }
        }
        let run = &items[at..best.max(at + 1)];
        if best > at && run.iter().map(|item| item.launches().len()).sum::<usize>() > 1 {
            runs.push(run.to_vec());
        }
        at += run.len();
    }
    runs
}

fn is_scratch(built: &Built, buffer: Virtual) -> bool {
    built.virtuals[buffer.0 as usize].0 == Kind::Scratch
}

/// Where what lives within these launches alone lies.
fn inside(built: &mut Built, lives: &HashMap<Virtual, (usize, usize)>, range: &Range<usize>) -> Inside {
    let mut values: Vec<Virtual> = lives
        .iter()
        .filter(|(v, (first, last))| range.contains(first) && range.contains(last) && is_scratch(built, **v))
        .map(|(v, _)| *v)
        .collect();
    values.sort_by_key(|v| (built.virtuals[v.0 as usize].1, v.0));
    let next = built.virtuals.len() as u32;
    let (workgroup, buffer) = (Virtual(next), Virtual(next + 1));
    built.virtuals.extend([(Kind::Scratch, 0); 2]);
    let room = match built.checked {
        true => 0,
        false => (built.caps.workgroup_memory as usize).saturating_sub(RESERVED_BYTES) / 4,
    };
    let (mut moved, mut words) = (HashMap::new(), 0);
    // The small ones first: they are many, and each that is spared is a barrier for buffers less.
    let mut placed: Vec<(usize, usize, usize, usize)> = Vec::new();
    for value in values {
        let (len, (first, last)) = (built.virtuals[value.0 as usize].1.div_ceil(4), lives[&value]);
        let mut taken: Vec<(usize, usize)> =
            placed.iter().filter(|p| p.2 <= last && first <= p.3).map(|p| (p.0, p.1)).collect();
        taken.sort();
        // The first gap that is long enough.
        let at = taken.iter().fold(0, |at, &(from, to)| if at + len <= from { at } else { at.max(to) });
        if at + len <= room {
            placed.push((at, at + len, first, last));
            moved.insert(value, (workgroup, at));
        } else {
            moved.insert(value, (buffer, words));
            words += len.next_multiple_of(ALIGN_WORDS);
        }
    }
    Inside { moved, workgroup, buffer: (buffer, words * 4) }
}

fn place(slot: Slot, moved: &Moved) -> Slot {
    match moved.get(&slot.buffer) {
        Some(&(buffer, offset)) => Slot { buffer, offset: offset + slot.offset, ..slot },
        None => slot,
    }
}

/// What a merged launch binds of one buffer.
struct Memory {
    first: usize,
    end: usize,
    write: bool,
    /// How many sections see elements of each type.
    elements: BTreeMap<&'static str, usize>,
}

/// The launch that a run becomes.
fn launch_of(built: &Built, kernels: &[Option<Rc<Kernel>>], run: &[Item], inside: &Inside) -> Option<Launch> {
    let Inside { moved, workgroup, .. } = inside;
    let (mut order, mut bound) = (Vec::new(), HashMap::<Virtual, Memory>::new());
    let mut given: Vec<usize> = Vec::new();
    let mut most = 1;
    for l in run.iter().flat_map(Item::launches) {
        let (launch, kernel) = (&built.launches[l], kernels[l].as_ref()?);
        for (k, bind) in launch.dispatch.bindings.iter().enumerate() {
            let slot = place(bind.slot, moved);
            let memory = bound.entry(slot.buffer).or_insert_with(|| {
                order.push(slot.buffer);
                Memory { first: slot.offset, end: 0, write: false, elements: BTreeMap::new() }
            });
            memory.first = memory.first.min(slot.offset);
            memory.end = memory.end.max(slot.offset + slot.len.max(1));
            memory.write |= bind.write;
            let element = match kernel.element(k)? {
                "f32" => "f32",
                "i32" => "i32",
                _ => "u32",
            };
            *memory.elements.entry(element).or_default() += 1;
        }
        for &(_, leaf) in &launch.patches {
            if !given.contains(&leaf) {
                given.push(leaf);
            }
        }
        let LoweredWork::Flat(invocations, _) = launch.dispatch.work else { return None };
        most = most.max(invocations);
    }
    let size = (most.next_power_of_two() as u32).clamp(64, built.caps.merge);
    let element = |v: &Virtual| bound[v].elements.iter().max_by_key(|(_, count)| **count).map(|(element, _)| *element);
    let elements: Vec<&'static str> = order.iter().map(element).collect::<Option<_>>()?;
    let lies = |v: &Virtual| match v == workgroup {
        true => Lies::Within(bound[v].end - bound[v].first),
        false => Lies::Bound { write: bound[v].write },
    };
    let arrays = elements.into_iter().zip(order.iter().map(lies)).collect();
    let mut text = Text::new(arrays, given.len(), size);
    for item in run {
        let section = |l: usize| -> Option<Section> {
            let launch = &built.launches[l];
            let d = &launch.dispatch;
            let next = (item.count > 1).then(|| &built.launches[l + item.pattern.len()].dispatch);
            let step =
                |now: u32, next: Option<u32>| Steady { first: now, step: next.map_or(0, |n| n.wrapping_sub(now)) };
            let places = d.bindings.iter().enumerate().map(|(k, bind)| {
                let at = |bind: &Bind| {
                    let slot = place(bind.slot, moved);
                    (slot.offset - bound[&slot.buffer].first) as u32
                };
                let buffer = place(bind.slot, moved).buffer;
                let memory = order.iter().position(|v| *v == buffer)?;
                Some((memory, step(at(bind), next.map(|d| at(&d.bindings[k])))))
            });
            let mut params: Vec<Word> = words(&d.params)
                .enumerate()
                .map(|(w, now)| Word::Number(step(now, next.and_then(|d| words(&d.params).nth(w)))))
                .collect();
            for &(at, leaf) in &launch.patches {
                params[at / 4] = Word::Given(given.iter().position(|&l| l == leaf)?);
            }
            let all_turns = || (0..item.count).map(|turn| &built.launches[l + turn * item.pattern.len()].dispatch);
            let span = |k: usize| {
                let slots = || all_turns().map(|d| place(d.bindings[k].slot, moved));
                let first = slots().map(|slot| slot.offset).min().unwrap_or(0);
                let end = slots().map(|slot| slot.offset + slot.len).max().unwrap_or(0);
                (first..end, d.bindings[k].write)
            };
            let LoweredWork::Flat(invocations, _) = d.work else { return None };
            Some(Section {
                dispatch: d,
                kernel: kernels[l].as_ref()?,
                spans: (0..d.bindings.len()).map(span).collect(),
                places: places.collect::<Option<_>>()?,
                params,
                groups: invocations.div_ceil(size as usize),
            })
        };
        text.push(&Turns { count: item.count, sections: item.pattern.clone().map(section).collect::<Option<_>>()? })?;
    }
    let bindings: Vec<Bind> = order
        .iter()
        .filter(|v| *v != workgroup)
        .map(|v| {
            let Memory { first, end, write, .. } = bound[v];
            Bind { slot: Slot { buffer: *v, offset: first, len: end - first, half: false }, write }
        })
        .collect();
    if bindings.iter().any(|bind| bind.slot.bytes().1 > built.caps.max_binding) {
        return None;
    }
    let shader = Shader { name: "merged".into(), source: text.finish().into() };
    let fields: Vec<(&'static str, usize)> = (0..given.len()).map(|k| (WORDS[k], 4 * k)).collect();
    let dispatch = LoweredDispatch {
        bindings,
        params: vec![0; 4 * given.len()],
        fields: fields.into(),
        ..LoweredDispatch::new(&shader, "merged").groups(1, 1, 1)
    };
    let first = &built.launches[run[0].pattern.start];
    let patches = given.into_iter().enumerate().map(|(k, leaf)| (4 * k, leaf)).collect();
    Some(Launch { dispatch, patches, node: first.node, step: first.step })
}
