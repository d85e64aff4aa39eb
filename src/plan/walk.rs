//! How the operands of a fused kernel are walked: the fewest axes that describe all of them.

use super::fuse::Fused;
use crate::tensor::Layout;

/// Extents with the strides of every operand over them, neighbours merged wherever all operands allow.
pub(super) struct Walk {
    pub extents: Vec<usize>,
    /// Per operand, per extent.
    pub strides: Vec<Vec<isize>>,
}

impl Walk {
    pub fn over(fused: &Fused) -> Walk {
        let layouts: Vec<&Layout> = fused.operands.iter().map(|o| &o.layout).collect();
        let mut extents: Vec<usize> = Vec::new();
        let mut strides: Vec<Vec<isize>> = vec![Vec::new(); layouts.len()];
        for (axis, &extent) in fused.shape.iter().enumerate() {
            if extent == 1 {
                continue;
            }
            let merges = !extents.is_empty()
                && layouts.iter().zip(&strides).all(|(l, s)| s[s.len() - 1] == l.strides[axis] * extent as isize);
            if merges {
                *extents.last_mut().expect("just checked") *= extent;
            } else {
                extents.push(extent);
            }
            for (layout, strides) in layouts.iter().zip(&mut strides) {
                if merges {
                    strides.pop();
                }
                strides.push(layout.strides[axis]);
            }
        }
        Walk { extents, strides }
    }

    /// Whether operand `k` is read in the order it is written.
    pub fn in_order(&self, k: usize) -> bool {
        let mut expect = 1;
        for (&n, &s) in self.extents.iter().zip(&self.strides[k]).rev() {
            if s != expect {
                return false;
            }
            expect *= n as isize;
        }
        true
    }
}
