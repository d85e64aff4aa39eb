//! Einstein's sum: products of any number of tensors by the names of their axes.
//!
//! Operands are taken in pairs from the left. Axes that both have are a batch if they are needed later and summed over
//! if not, so every pair is one batched matrix product; a pair without a sum is an elementwise product, which is fused.

use crate::tensor::Tensor;

/// The name of an axis: a letter, or a place of the ellipsis counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Axis {
    /// Sorts before letters, outermost first.
    Ellipsis(isize),
    Letter(char),
}

/// A tensor and the names of its axes, each once.
struct Named {
    tensor: Tensor,
    axes: Vec<Axis>,
}

impl Named {
    fn extent(&self, axis: Axis) -> Option<usize> {
        self.axes.iter().position(|&a| a == axis).map(|i| self.tensor.shape()[i])
    }

    /// Sums over the axes that `needed` refuses.
    #[track_caller]
    fn summed(self, needed: impl Fn(Axis) -> bool) -> Named {
        let gone: Vec<isize> = (0..self.axes.len()).filter(|&i| !needed(self.axes[i])).map(|i| i as isize).collect();
        if gone.is_empty() {
            return self;
        }
        Named { tensor: self.tensor.sum(&gone), axes: self.axes.into_iter().filter(|&a| needed(a)).collect() }
    }

    /// With these axes, in this order; those it lacks have extent 1.
    #[track_caller]
    fn in_order(&self, axes: &[Axis]) -> Tensor {
        let present: Vec<usize> = axes.iter().filter_map(|a| self.axes.iter().position(|b| a == b)).collect();
        let shape: Vec<usize> = axes.iter().map(|&a| self.extent(a).unwrap_or(1)).collect();
        self.tensor.permute(&present).reshape(shape)
    }
}

/// The axes of one operand by its part of the equation.
#[track_caller]
fn axes_of(equation: &str, part: &str, rank: usize) -> Vec<Axis> {
    let letters = part.chars().filter(|&c| c != '.').count();
    let dots = part.matches('.').count();
    let fits = match dots {
        0 => letters == rank,
        3 => part.contains("...") && letters <= rank,
        _ => false,
    };
    assert!(fits, "einsum: \"{part}\" of \"{equation}\" does not name the {rank} axes of its operand");
    let mut axes = Vec::new();
    let mut rest = part;
    while let Some(c) = rest.chars().next() {
        if c == '.' {
            let hidden = (rank - letters) as isize;
            axes.extend((0..hidden).map(|i| Axis::Ellipsis(i - hidden)));
            rest = &rest[3..];
        } else {
            assert!(c.is_ascii_alphabetic(), "einsum: '{c}' in \"{equation}\"; axes are named by letters");
            axes.push(Axis::Letter(c));
            rest = &rest[1..];
        }
    }
    axes
}

/// The elements whose indices agree along axes `i` and `j`, at the place of axis `i`; a view of a dense tensor.
#[track_caller]
fn diagonal(t: &Tensor, i: usize, j: usize) -> Tensor {
    let n = t.shape()[i];
    assert!(n == t.shape()[j], "einsum: axes {i} and {j} of {} have one name and two extents", t.shape());
    let mut axes: Vec<usize> = (0..t.rank()).filter(|&a| a != i && a != j).collect();
    let others: Vec<usize> = axes.iter().map(|&a| t.shape()[a]).collect();
    axes.extend([i, j]);
    let flat = t.permute(&axes).reshape([&others[..], &[n * n]].concat());
    let rank = others.len();
    let extents = [&others[..], &[n]].concat();
    let mut steps = vec![1; rank + 1];
    steps[rank] = n as isize + 1;
    let along = flat.slice(&vec![0; rank + 1], &extents, &steps);
    // The diagonal is last; bring it to the place of `i` among those that are left.
    let place = (0..i).filter(|&a| a != j).count();
    let mut order: Vec<usize> = (0..rank).collect();
    order.insert(place, rank);
    along.permute(&order)
}

/// Two operands made into one; `needed` says which axes somebody still asks for.
#[track_caller]
fn pair(equation: &str, a: Named, b: Named, needed: impl Fn(Axis) -> bool) -> Named {
    // What only one of them has and nobody needs is summed over first.
    let a = a.summed(|axis| needed(axis) || b.axes.contains(&axis));
    let b = b.summed(|axis| needed(axis) || a.axes.contains(&axis));
    // Extents of 1 stretch.
    let extents: Vec<(Axis, usize)> = a
        .axes
        .iter()
        .map(|&axis| {
            let (m, n) = (a.extent(axis).unwrap_or(1), b.extent(axis).unwrap_or(1));
            assert!(
                m == n || m == 1 || n == 1 || !b.axes.contains(&axis),
                "einsum: one name of \"{equation}\" has extents {m} and {n}, in {} and {}",
                a.tensor.shape(),
                b.tensor.shape()
            );
            (axis, if m == 1 { n } else { m })
        })
        .collect();
    let extent = |axis: Axis| extents.iter().find(|e| e.0 == axis).map(|e| e.1).or(b.extent(axis)).unwrap_or(1);
    let both = |axis: &Axis| b.axes.contains(axis);
    let batch: Vec<Axis> = a.axes.iter().copied().filter(|x| both(x) && needed(*x)).collect();
    let summed: Vec<Axis> = a.axes.iter().copied().filter(|x| both(x) && !needed(*x)).collect();
    let rows: Vec<Axis> = a.axes.iter().copied().filter(|x| !both(x)).collect();
    let columns: Vec<Axis> = b.axes.iter().copied().filter(|x| !a.axes.contains(x)).collect();
    let axes = [&batch[..], &rows, &columns].concat();
    if summed.is_empty() {
        return Named { tensor: a.in_order(&axes).mul(&b.in_order(&axes)), axes };
    }
    let shape = |axes: &[Axis]| axes.iter().map(|&x| extent(x)).collect::<Vec<_>>();
    let size = |axes: &[Axis]| shape(axes).iter().product::<usize>();
    let matrix = |t: &Named, first: &[Axis], second: &[Axis]| {
        let order = [&batch[..], first, second].concat();
        t.in_order(&order).broadcast_to(shape(&order)).reshape([size(&batch), size(first), size(second)])
    };
    let product = matrix(&a, &rows, &summed).matmul(&matrix(&b, &summed, &columns));
    Named { tensor: product.reshape(shape(&axes)), axes }
}

impl Tensor {
    /// Sums of products of any number of tensors, by the names of their axes: `"ij,jk->ik"` is a matrix product,
    /// `"ii->i"` a diagonal, `"bij->bji"` a transpose, `"i,i->"` a dot product, `"...ij,...jk->...ik"` a product of
    /// batches.
    ///
    /// Axes with one name run together; those that the result does not name are summed over. Without `->` the result
    /// has the ellipsis and the letters that occur once, in order of the alphabet. Extents of 1 stretch.
    ///
    /// # Panics
    /// If the equation does not fit the operands, or there are none.
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[&Tensor]) -> Tensor {
        let plain: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match plain.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (&plain[..], None),
        };
        let parts: Vec<&str> = left.split(',').collect();
        assert!(
            parts.len() == operands.len() && !operands.is_empty(),
            "einsum: \"{equation}\" names {} operands, and {} are given",
            parts.len(),
            operands.len()
        );
        let mut named = Vec::new();
        let mut counts: Vec<(Axis, usize)> = Vec::new();
        let mut hidden = 0;
        for (part, operand) in parts.iter().zip(operands) {
            let mut axes = axes_of(equation, part, operand.rank());
            for &axis in &axes {
                match counts.iter_mut().find(|c| c.0 == axis) {
                    Some(count) => count.1 += 1,
                    None => counts.push((axis, 1)),
                }
                if let Axis::Ellipsis(i) = axis {
                    hidden = hidden.max(-i);
                }
            }
            let mut tensor = (*operand).clone();
            while let Some((i, j)) = twice(&axes) {
                tensor = diagonal(&tensor, i, j);
                axes.remove(j);
            }
            named.push(Named { tensor, axes });
        }
        let result: Vec<Axis> = match right {
            Some(right) => {
                let letters = right.chars().filter(|&c| c != '.').count();
                let hidden = if right.contains("...") { hidden as usize } else { 0 };
                axes_of(equation, right, letters + hidden)
            }
            None => {
                let mut axes: Vec<Axis> = counts
                    .iter()
                    .filter(|(axis, count)| *count == 1 || matches!(axis, Axis::Ellipsis(_)))
                    .map(|c| c.0)
                    .collect();
                axes.sort_unstable();
                axes
            }
        };
        assert!(twice(&result).is_none(), "einsum: the result of \"{equation}\" names an axis twice");
        if let Some(axis) = result.iter().find(|axis| !counts.iter().any(|c| c.0 == **axis)) {
            panic!("einsum: no operand of \"{equation}\" has axis {axis:?} of the result");
        }
        let mut rest = named.into_iter();
        let mut total = rest.next().expect("there is an operand");
        let mut after: Vec<Named> = rest.collect();
        while !after.is_empty() {
            let next = after.remove(0);
            let needed = |axis: Axis| result.contains(&axis) || after.iter().any(|n| n.axes.contains(&axis));
            total = pair(equation, total, next, needed);
        }
        total.summed(|axis| result.contains(&axis)).in_order(&result)
    }
}

/// The places of an axis that is named twice.
fn twice(axes: &[Axis]) -> Option<(usize, usize)> {
    (0..axes.len()).find_map(|j| axes[..j].iter().position(|&a| a == axes[j]).map(|i| (i, j)))
}
