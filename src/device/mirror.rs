//! Storage that kernels read as textures, on software rasterisers.
//!
//! llvmpipe fetches the elements of a storage buffer lane by lane, each with a test of its bounds; a texel it fetches for all
//! lanes at once, which is faster, and copying a buffer into a texture is a memcpy. So there the text of a kernel is
//! changed where it declares what it only reads, and what it reads is copied into a texture first, once after each
//! change. A texture holds the bits of a range of a buffer as rows of [`WIDTH`] texels; all element types share the format.

use std::borrow::Cow;
use std::collections::HashMap;

use super::counters::Tally;
use super::{Binding, Gpu, Shader};

/// Texels per row: as wide as the format of 4-byte texels lets every row begin where a copy may begin.
const WIDTH: u32 = 4096;

/// The function by which the text reads an array, and the declaration in place of the array's.
fn declaration(binding: &str, name: &str, element: &str) -> String {
    let bits = format!("textureLoad({name}, vec2<u32>(i & {}u, i >> {}u)).x", WIDTH - 1, WIDTH.ilog2());
    let value = if element == "u32" { bits } else { format!("bitcast<{element}>({bits})") };
    format!(
        "{binding} var {name}: texture_storage_2d<r32uint, read>;\n\
         fn texel_of_{name}(i: u32) -> {element} {{ return {value}; }}"
    )
}

/// The array that a line of WGSL declares for reading: attributes, name and type of its elements.
fn declared(line: &str) -> Option<(&str, &str, &str)> {
    let (attributes, rest) = line.split_once(" var<storage, read> ")?;
    let (name, rest) = rest.split_once(": array<")?;
    let (element, _) = rest.split_once(">;")?;
    (attributes.starts_with("@group(0)") && matches!(element, "f32" | "i32" | "u32"))
        .then_some((attributes, name, element))
}

impl Shader {
    /// The text with what it only reads declared as textures, and the numbers of those bindings; the text as it is where
    /// those are more than `most`.
    pub fn with_textures(&self, most: u32) -> (Cow<'_, str>, Vec<usize>) {
        let number = |attributes: &str| -> Option<usize> {
            attributes.split("@binding(").nth(1)?.split(')').next()?.parse().ok()
        };
        // What is of another type where something else of the text is declared too stays a buffer.
        let others: Vec<usize> = self
            .source
            .lines()
            .filter(|line| declared(line).is_none())
            .filter_map(|line| number(line.split_once(" var<storage, read> ")?.0))
            .collect();
        let declared = |line| declared(line).filter(|(at, ..)| number(at).is_none_or(|n| !others.contains(&n)));
        let arrays: Vec<_> = self.source.lines().filter_map(declared).collect();
        if arrays.is_empty() || arrays.len() > most as usize {
            return (Cow::Borrowed(&self.source), Vec::new());
        }
        let names: Vec<&str> = arrays.iter().map(|(_, name, _)| *name).collect();
        let bindings = arrays.iter().filter_map(|(attributes, ..)| number(attributes)).collect();
        let mut text = String::with_capacity(self.source.len() + 1024);
        for line in self.source.lines() {
            let code = line.split("//").next().unwrap_or_default();
            match declared(line) {
                Some((attributes, name, element)) => text += &declaration(attributes, name, element),
                None => read_by_calls(code.trim_end(), &names, &mut text),
            }
            text.push('\n');
        }
        (Cow::Owned(text), bindings)
    }
}

/// Appends `code` with `name[i]` as `texel_of_name(u32(i))`, for each of the names.
fn read_by_calls(code: &str, names: &[&str], text: &mut String) {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let mut rest = code;
    while let Some(open) = rest.find('[') {
        let word = rest[..open].rfind(|c| !part_of_word(c)).map_or(0, |at| at + 1);
        let mut depth = 0;
        let close = rest[open..].find(|c| {
            depth += (c == '[') as i32 - (c == ']') as i32;
            depth == 0
        });
        let Some(close) = close.map(|at| open + at) else { break };
        let called = names.contains(&&rest[word..open]);
        text.push_str(&rest[..word]);
        text.push_str(if called { "texel_of_" } else { "" });
        text.push_str(&rest[word..open]);
        text.push_str(if called { "(u32(" } else { "[" });
        read_by_calls(&rest[open + 1..close], names, text);
        text.push_str(if called { "))" } else { "]" });
        rest = &rest[close + 1..];
    }
    text.push_str(rest);
}

/// A texture and the state of the buffer it holds.
#[derive(Debug)]
struct Mirror {
    texture: wgpu::Texture,
    version: u64,
}

/// The textures of ranges of buffers: by buffer, first byte and length.
#[derive(Debug, Default)]
pub(super) struct Mirrors(HashMap<(u64, u64, u64), Mirror>);

impl Mirrors {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all; whoever binds them must be forgotten too.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The texture that a binding reads.
    pub(super) fn view(&self, binding: &Binding) -> wgpu::TextureView {
        self.0[&key(binding)].texture.create_view(&wgpu::TextureViewDescriptor::default())
    }

    /// Whether the texture holds what the buffer holds now.
    pub(super) fn is_current(&self, binding: &Binding) -> bool {
        self.0.get(&key(binding)).is_some_and(|mirror| mirror.version == binding.buffer.version())
    }

    /// Copies the range into its texture, in the order of the encoder.
    pub(super) fn refresh(&mut self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, binding: &Binding) {
        let texels = (binding.size / 4) as u32;
        let mirror = self.0.entry(key(binding)).or_insert_with(|| {
            let texture = gpu.device.create_texture(&wgpu::TextureDescriptor {
                label: Some("what kernels read"),
                size: wgpu::Extent3d {
                    width: WIDTH.min(texels),
                    height: texels.div_ceil(WIDTH),
                    depth_or_array_layers: 1,
                },
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: wgpu::TextureFormat::R32Uint,
                usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            });
            Mirror { texture, version: 0 }
        });
        // Whole rows, then the beginning of one.
        let (rows, rest) = (texels / WIDTH, texels % WIDTH);
        let mut copy = |row: u32, width: u32, height: u32| {
            let layout = wgpu::TexelCopyBufferLayout {
                offset: binding.offset + u64::from(row * WIDTH) * 4,
                bytes_per_row: Some(WIDTH * 4),
                rows_per_image: None,
            };
            encoder.copy_buffer_to_texture(
                wgpu::TexelCopyBufferInfo { buffer: &binding.buffer.raw, layout },
                wgpu::TexelCopyTextureInfo {
                    texture: &mirror.texture,
                    mip_level: 0,
                    origin: wgpu::Origin3d { x: 0, y: row, z: 0 },
                    aspect: wgpu::TextureAspect::All,
                },
                wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            );
        };
        if rows > 0 {
            copy(0, WIDTH, rows);
        }
        if rest > 0 {
            copy(rows, rest, 1);
        }
        mirror.version = binding.buffer.version();
        Tally::add(&gpu.tally().bytes_mirrored, binding.size);
    }
}

fn key(binding: &Binding) -> (u64, u64, u64) {
    (binding.buffer.id(), binding.offset, binding.size)
}
