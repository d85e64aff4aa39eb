//! Shapes, NumPy broadcasting, and strided layouts: a view is an index map, not a copy.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::ShapeError;

/// The extent of each axis, outermost first. A rank-0 shape holds one element.
///
/// Recording and tracing a step hand each shape on many times, so its clones share it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Arc<[usize]>);

impl Shape {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Row-major strides, in elements.
    pub fn strides(&self) -> Vec<isize> {
        let mut strides = vec![1; self.0.len()];
        for axis in (1..self.0.len()).rev() {
            strides[axis - 1] = strides[axis] * self.0[axis].max(1) as isize;
        }
        strides
    }

    /// The shape both broadcast to by NumPy's rule, or an error that says which axis does not fit.
    pub fn broadcast(&self, other: &Shape, op: &str) -> Result<Shape, ShapeError> {
        let rank = self.rank().max(other.rank());
        let extent = |s: &Shape, axis: usize| (axis + s.rank()).checked_sub(rank).map_or(1, |a| s[a]);
        (0..rank)
            .map(|axis| match (extent(self, axis), extent(other, axis)) {
                (a, b) if a == b => Ok(a),
                (1, b) => Ok(b),
                (a, 1) => Ok(a),
                (a, b) => Err(ShapeError::new(
                    op,
                    format!(
                        "shapes {self} and {other} do not broadcast: axis {axis} of the result would be both {a} and {b}; \
                         they fit where equal, or where one of them is 1"
                    ),
                )),
            })
            .collect::<Result<Arc<_>, _>>()
            .map(Shape)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl From<Vec<usize>> for Shape {
    fn from(v: Vec<usize>) -> Self {
        Shape(v.into())
    }
}
impl From<&[usize]> for Shape {
    fn from(v: &[usize]) -> Self {
        Shape(v.into())
    }
}
impl<const N: usize> From<[usize; N]> for Shape {
    fn from(v: [usize; N]) -> Self {
        Shape(Arc::new(v))
    }
}
impl From<&Shape> for Shape {
    fn from(v: &Shape) -> Self {
        v.clone()
    }
}
impl From<usize> for Shape {
    fn from(n: usize) -> Self {
        Shape(Arc::new([n]))
    }
}

/// A number of an axis: from 0 on, or from the end where negative.
pub trait Axis: Copy {
    /// The number with its sign.
    fn signed(self) -> isize;
}

impl Axis for usize {
    fn signed(self) -> isize {
        self as isize
    }
}
impl Axis for isize {
    fn signed(self) -> isize {
        self
    }
}
impl Axis for i32 {
    fn signed(self) -> isize {
        self as isize
    }
}

/// Where the elements of a view lie in the buffer below it: element `i` is at `offset + sum(i[a] * strides[a])`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The shape of the view.
    pub shape: Shape,
    /// Elements to step per axis; 0 where an axis is broadcast, negative where it is flipped.
    pub strides: Vec<isize>,
    /// The position of element 0, in elements.
    pub offset: usize,
}

impl Layout {
    /// Row-major, starting at `offset`.
    pub fn contiguous(shape: impl Into<Shape>, offset: usize) -> Self {
        let shape = shape.into();
        Layout { strides: shape.strides(), shape, offset }
    }

    /// Whether element `i` in row-major order lies at `offset + i`.
    pub fn is_contiguous(&self) -> bool {
        let mut expect = 1;
        for (&n, &s) in self.shape.iter().zip(&self.strides).rev() {
            if n != 1 && s != expect {
                return self.shape.elements() == 0;
            }
            expect *= n as isize;
        }
        true
    }

    /// The axes in another order: axis `a` of the result is axis `axes[a]` of this.
    pub fn permute(&self, axes: &[usize]) -> Layout {
        Layout {
            shape: axes.iter().map(|&a| self.shape[a]).collect::<Vec<_>>().into(),
            strides: axes.iter().map(|&a| self.strides[a]).collect(),
            offset: self.offset,
        }
    }

    /// Repeats axes of extent 1 (and new leading axes) to `shape`.
    pub fn broadcast(&self, shape: &Shape) -> Layout {
        let lead = shape.rank() - self.shape.rank();
        let strides = (0..shape.rank())
            .map(|a| match a.checked_sub(lead) {
                Some(b) if self.shape[b] == shape[a] => self.strides[b],
                _ => 0,
            })
            .collect();
        Layout { shape: shape.clone(), strides, offset: self.offset }
    }

    /// Every `steps[a]`-th element from `starts[a]`, `extents[a]` of them, along each axis. A negative step walks back.
    pub fn slice(&self, starts: &[usize], extents: &[usize], steps: &[isize]) -> Layout {
        let offset: isize = starts.iter().zip(&self.strides).map(|(&s, &d)| s as isize * d).sum();
        let empty = extents.contains(&0);
        Layout {
            shape: extents.into(),
            strides: self.strides.iter().zip(steps).map(|(&d, &s)| d * s).collect(),
            offset: if empty { self.offset } else { (self.offset as isize + offset) as usize },
        }
    }

    /// Extents and strides of the axes among `axes`, or (not `among`) of the others, outermost first: axes that lie in
    /// one run are one.
    pub fn runs(&self, axes: &[usize], among: bool) -> Vec<(usize, isize)> {
        let mut runs: Vec<(usize, isize)> = Vec::new();
        for a in (0..self.shape.rank()).filter(|a| axes.contains(a) == among && self.shape[*a] != 1) {
            let (n, step) = (self.shape[a], self.strides[a]);
            match runs.last_mut() {
                Some(last) if last.1 == step * n as isize => *last = (last.0 * n, step),
                _ => runs.push((n, step)),
            }
        }
        runs
    }

    /// The same elements in row-major order under another shape, or `None` where that needs a copy.
    pub fn reshape(&self, shape: &Shape) -> Option<Layout> {
        if self.is_contiguous() {
            return Some(Layout::contiguous(shape.clone(), self.offset));
        }
        // Match groups of old axes with groups of new ones of equal size; a group of old axes must be one run.
        let old: Vec<(usize, isize)> =
            self.shape.iter().copied().zip(self.strides.iter().copied()).filter(|&(n, _)| n != 1).collect();
        let mut strides = vec![0isize; shape.rank()];
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let (mut have, mut want) = (old[i].0, 1);
            let (first_old, first_new) = (i, j);
            while have != want {
                if want < have {
                    want *= *shape.get(j)?;
                    j += 1;
                } else {
                    i += 1;
                    have *= old.get(i)?.0;
                }
            }
            if (first_old..i).any(|a| old[a].1 != old[a + 1].0 as isize * old[a + 1].1) {
                return None;
            }
            let mut step = old[i].1;
            for axis in (first_new..j).rev() {
                strides[axis] = step;
                step *= shape[axis] as isize;
            }
            i += 1;
        }
        Some(Layout { shape: shape.clone(), strides, offset: self.offset })
    }
}
