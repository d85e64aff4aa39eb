//! The launch of a fused kernel: how many elements an invocation makes, and how large a workgroup is.

use super::{Built, Launch};
use crate::plan::fuse::{Base, Fused};
use crate::plan::wgsl;
use crate::tensor::{DType, Layout, LoweredDispatch, LoweredWork, Slot};

/// Fused kernels of as many elements make four in each invocation on a GPU.
const WIDE: usize = 1 << 14;

/// The same on a software rasteriser, which loads single elements faster, as texels, until copying them into a texture
/// costs more.
const WIDE_IN_SOFTWARE: usize = 1 << 22;

/// Makes the workgroups of a large launch larger, if its invocations do not work together. An H200 took 169 us for a
/// sum in 262,144 workgroups of 64, where its memory needs 48.
pub(super) fn enlarge(dispatch: &mut LoweredDispatch) {
    const LARGE: usize = 1 << 17;
    let source = &dispatch.shader.source;
    let alone = dispatch.turns.is_some() || !source.contains("var<workgroup>");
    let LoweredWork::Flat(n, size @ 64) = &mut dispatch.work else { return };
    if *n >= LARGE
        && alone
        && source.contains("override WG:")
        && dispatch.constants.iter().all(|(name, _)| *name != "WG")
    {
        *size = 256;
        dispatch.constants.push(("WG", 256.0));
    }
}

impl Built<'_> {
    /// Appends the launch of a fused kernel; `open`: it stores through an epilogue.
    pub fn launch_fused(&mut self, fused: &Fused, target: Slot, node: Option<usize>, open: bool) {
        let n = fused.shape.elements();
        if n == 0 {
            return;
        }
        let native_half = self.caps.native_half;
        let ranges: Vec<(Slot, Layout)> = fused.operands.iter().map(|o| self.range(o.base, &o.layout)).collect();
        let in_fours = |(in_order, (_, layout)): (bool, &(Slot, Layout))| in_order && layout.offset.is_multiple_of(4);
        let fours: Vec<bool> = wgsl::in_order(fused).into_iter().zip(&ranges).map(in_fours).collect();
        let large = match self.caps.software {
            true => n >= WIDE_IN_SOFTWARE && fours.iter().all(|&four| four),
            false => n >= WIDE,
        };
        let wide = large && wgsl::can_be_wide(fused, native_half);
        let form = wgsl::Form { open, native_half, wide, fours: &fours };
        let generated = wgsl::generate(fused, form);
        let mut dispatch = LoweredDispatch::new(&generated.shader, "main");
        let mut words = vec![n as u32];
        for (slot, layout) in ranges {
            words.push(layout.offset as u32);
            dispatch = dispatch.read(slot);
        }
        let mut patches = Vec::new();
        for (leaf, _) in &fused.scalars {
            patches.push((words.len() * 4, *leaf));
            words.push(0);
        }
        let dispatch = if open { dispatch.finish(target) } else { dispatch.write(target) };
        let dispatch = dispatch.flat(n.div_ceil(wgsl::per_invocation(fused, form)), wgsl::GROUP);
        // Loads and functions of one element; a turn of a loop is a few of them.
        let mut dispatch = dispatch.independent(fused.code.len().div_ceil(4));
        dispatch.params = bytemuck::cast_slice(&words).to_vec();
        dispatch.fields = generated.fields.into();
        self.launches.push(Launch { dispatch, patches, node, step: self.step });
    }

    /// A fused kernel that copies a value of this type.
    pub fn copy_of(&self, base: Base, layout: Layout, dtype: DType) -> Fused {
        Fused::copy(base, layout, self.program.stored(base, dtype), dtype)
    }
}
