//! Storage that kernels read as textures, on software rasterisers.
//!
//! llvmpipe fetches the elements of a storage buffer lane by lane, each with a test of its bounds; a texel it fetches
//! for all lanes at once, which is faster, and copying a buffer into a texture is a memcpy. So there the text of a
//! kernel is changed where it declares what it only reads, and what it reads is copied into a texture first, once after
//! each change. A texture holds the bits of a range of a buffer as rows of [`WIDTH`] elements, one to a texel or four.

use std::borrow::Cow;
use std::collections::HashMap;

use super::counters::Tally;
use super::{Binding, Gpu, Shader};

/// Elements of 4 bytes per row: as wide as lets every row begin where a copy may begin.
const WIDTH: u32 = 4096;

/// A remark behind the declaration of an array of which every element is read once: the copy would cost more than it
/// spares.
pub(crate) const READ_ONCE: &str = "// read once";

/// What a texel holds of an array: an element of 4 bytes, or a vec4 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Texel {
    /// One element.
    One,
    /// A vec4.
    Four,
}

impl Texel {
    /// Elements of 4 bytes.
    fn elements(self) -> u32 {
        match self {
            Texel::One => 1,
            Texel::Four => 4,
        }
    }

    /// Texels of a row.
    fn width(self) -> u32 {
        WIDTH / self.elements()
    }
}

/// An array that a line of WGSL declares for reading.
struct Declared<'a> {
    attributes: &'a str,
    name: &'a str,
    element: &'a str,
    texel: Texel,
}

impl<'a> Declared<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let (attributes, rest) = line.split_once(" var<storage, read> ")?;
        let (name, rest) = rest.split_once(": array<")?;
        let (element, _) = rest.split_once(">;")?;
        let texel = match element {
            "f32" | "i32" | "u32" => Texel::One,
            "vec4<f32>" => Texel::Four,
            _ => return None,
        };
        let kept = line.ends_with(READ_ONCE) || !attributes.starts_with("@group(0)");
        (!kept).then_some(Declared { attributes, name, element, texel })
    }

    fn number(&self) -> Option<usize> {
        number(self.attributes)
    }

    /// The declaration in place of the array's, and the function by which the text reads it.
    fn as_texture(&self) -> String {
        let Declared { attributes, name, element, texel } = self;
        let width = texel.width();
        let load = format!("textureLoad({name}, vec2<u32>(texel_at & {}u, texel_at >> {}u))", width - 1, width.ilog2());
        let (format, bits) = match texel {
            Texel::One => ("r32uint", load + ".x"),
            Texel::Four => ("rgba32uint", load),
        };
        let value = if *element == "u32" { bits } else { format!("bitcast<{element}>({bits})") };
        format!(
            "{attributes} var {name}: texture_storage_2d<{format}, read>;\n\
             fn texel_of_{name}(texel_at: u32) -> {element} {{ return {value}; }}"
        )
    }
}

/// The number of a binding.
fn number(attributes: &str) -> Option<usize> {
    attributes.split("@binding(").nth(1)?.split(')').next()?.parse().ok()
}

impl Shader {
    /// The text with what it only reads declared as textures, and the numbers of those bindings; the text as it is
    /// where those are more than `most`.
    pub fn with_textures(&self, most: u32) -> (Cow<'_, str>, Vec<(usize, Texel)>) {
        // A number that stands for several things, each for another entry point, can only be one kind of binding.
        let kinds = |n: usize| -> Vec<Option<Texel>> {
            let at = |line: &str| number(line.split_once(" var<storage, read> ")?.0);
            let same = self.source.lines().filter(|line| at(line) == Some(n));
            same.map(|line| Declared::of(line).map(|array| array.texel)).collect()
        };
        let alone =
            |array: &Declared| array.number().is_none_or(|n| kinds(n).iter().all(|kind| *kind == Some(array.texel)));
        let declared = |line| Declared::of(line).filter(alone);
        let arrays: Vec<Declared> = self.source.lines().filter_map(declared).collect();
        if arrays.is_empty() || arrays.len() > most as usize {
            return (Cow::Borrowed(&self.source), Vec::new());
        }
        let names: Vec<&str> = arrays.iter().map(|array| array.name).collect();
        let bindings = arrays.iter().filter_map(|array| Some((array.number()?, array.texel))).collect();
        let mut text = String::with_capacity(self.source.len() + 1024);
        for line in self.source.lines() {
            let code = line.split("//").next().unwrap_or_default();
            match declared(line) {
                Some(array) => text += &array.as_texture(),
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

/// The size of a texture of so many texels. llvmpipe compiles a kernel anew where a side of a texture is a power of two
/// and was none before, or the other way round: here all widths are one, and no height is.
fn extent(texels: u32, width: u32) -> wgpu::Extent3d {
    let rows = texels.div_ceil(width).max(3);
    wgpu::Extent3d {
        width: width.min(texels.next_power_of_two()),
        height: rows + u32::from(rows.is_power_of_two()),
        depth_or_array_layers: 1,
    }
}

/// A texture and the state of the buffer it holds.
#[derive(Debug)]
struct Mirror {
    texture: wgpu::Texture,
    version: u64,
}

/// Buffer, first byte, length, and what a texel holds of it.
type Key = (u64, u64, u64, Texel);

/// The textures of ranges of buffers.
#[derive(Debug, Default)]
pub(super) struct Mirrors(HashMap<Key, Mirror>);

impl Mirrors {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all; whoever binds them must be forgotten too.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The texture that a binding reads.
    pub(super) fn view(&self, binding: &Binding, texel: Texel) -> wgpu::TextureView {
        self.0[&key(binding, texel)].texture.create_view(&wgpu::TextureViewDescriptor::default())
    }

    /// Whether the texture holds what the buffer holds now.
    pub(super) fn is_current(&self, binding: &Binding, texel: Texel) -> bool {
        self.0.get(&key(binding, texel)).is_some_and(|mirror| mirror.version == binding.buffer.version())
    }

    /// Copies the range into its texture, in the order of the encoder.
    pub(super) fn refresh(&mut self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder, binding: &Binding, texel: Texel) {
        let (bytes, width) = (4 * texel.elements(), texel.width());
        let texels = (binding.size / u64::from(bytes)) as u32;
        let mirror = self.0.entry(key(binding, texel)).or_insert_with(|| {
            let texture = gpu.device.create_texture(&wgpu::TextureDescriptor {
                label: Some("what kernels read"),
                size: extent(texels, width),
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format: match texel {
                    Texel::One => wgpu::TextureFormat::R32Uint,
                    Texel::Four => wgpu::TextureFormat::Rgba32Uint,
                },
                usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
                view_formats: &[],
            });
            Mirror { texture, version: 0 }
        });
        // Whole rows, then the beginning of one.
        let (rows, rest) = (texels / width, texels % width);
        let mut copy = |row: u32, of_row: u32, height: u32| {
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
                wgpu::Extent3d { width: of_row, height, depth_or_array_layers: 1 },
            );
        };
        if rows > 0 {
            copy(0, width, rows);
        }
        if rest > 0 {
            copy(rows, rest, 1);
        }
        mirror.version = binding.buffer.version();
        Tally::add(&gpu.tally().bytes_mirrored, binding.size);
    }
}

fn key(binding: &Binding, texel: Texel) -> Key {
    (binding.buffer.id(), binding.offset, binding.size, texel)
}
