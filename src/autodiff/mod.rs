//! Derivatives, by walking the recorded graph backwards over the ops' rules.
//!
//! A rule takes tensors and records tensors, so the result is a graph like any other: it can be planned with the
//! forward pass as one program, and differentiated again. Forward mode is two walks (the "double vjp"): the
//! vector-Jacobian product is linear in its cotangent, and the product of *that* map with a tangent is the
//! Jacobian-vector product.

mod gradcheck;
mod second;

use std::sync::Arc;

pub use gradcheck::{Gradcheck, gradcheck, gradgradcheck};
pub(crate) use gradcheck::{compare, gradient, weights_of};
pub use second::{hessian, hvp, jacobian};

use crate::tensor::{DType, History, Node, QuickMap, RecordedAt, Tensor, Vjp};

/// The gradient of a one-element tensor with respect to each of `wrt`.
///
/// # Panics
/// If `y` has more than one element, or does not depend on one of `wrt` by way of differentiable ops. A tensor that was
/// evaluated has forgotten what it was computed from, unless one of its inputs is a tracked leaf
/// ([`Tensor::into_leaf`]): take the gradient before the value, or track the leaf.
#[track_caller]
pub fn grad(y: &Tensor, wrt: &[&Tensor]) -> Vec<Tensor> {
    assert!(
        y.elements() == 1,
        "grad: the function's value has shape {}, it must be one number; sum it first",
        y.shape()
    );
    vjp(&[y], &[&Tensor::ones(y.device(), y.shape())], wrt)
}

/// The vector-Jacobian product: the sum over `outputs` of `cotangents` times their derivative with respect to `wrt`.
///
/// # Panics
/// As [`grad`], or if a cotangent does not have its output's shape.
#[track_caller]
pub fn vjp(outputs: &[&Tensor], cotangents: &[&Tensor], wrt: &[&Tensor]) -> Vec<Tensor> {
    let found = try_vjp(outputs, cotangents, wrt);
    wrt.iter()
        .zip(found)
        .map(|(x, g)| {
            g.unwrap_or_else(|| {
                panic!(
                    "no gradient reaches the tensor made at {}: the function does not depend on it through differentiable \
                     ops, or was evaluated before its gradient was asked for; ask first, or make it a tracked leaf",
                    x.node.at
                )
            })
        })
        .collect()
}

/// [`vjp`], with `None` for what the outputs do not depend on.
///
/// # Panics
/// If a cotangent does not have its output's shape.
#[track_caller]
pub fn try_vjp(outputs: &[&Tensor], cotangents: &[&Tensor], wrt: &[&Tensor]) -> Vec<Option<Tensor>> {
    assert_eq!(outputs.len(), cotangents.len(), "vjp: one cotangent per output");
    for (y, dy) in outputs.iter().zip(cotangents) {
        assert!(
            y.shape() == dy.shape(),
            "vjp: an output of shape {} has a cotangent of shape {}",
            y.shape(),
            dy.shape()
        );
    }
    let walk = Walk::from(outputs, wrt);
    let rounded = walk.rounded();
    let mut sums: QuickMap<(*const Node, usize), Tensor> = QuickMap::default();
    for (y, dy) in outputs.iter().zip(cotangents) {
        accumulate(&mut sums, y, (*dy).clone());
    }
    for node in walk.order.iter().rev() {
        let key = Arc::as_ptr(node);
        let Some(history) = node.history() else { continue };
        if walk.is_wrt(node) && history.inputs.iter().all(|i| !walk.needed(i)) {
            continue;
        }
        let count = node.metas.len();
        let cotangents: Vec<Option<Tensor>> = (0..count).map(|k| sums.get(&(key, k)).cloned()).collect();
        if cotangents.iter().all(Option::is_none) {
            continue;
        }
        // Where a result was rounded to half, the rule reads the half, which is what is stored.
        let of = |output| match rounded.get(&(Arc::as_ptr(node), output)) {
            Some(half) => half.cast(DType::F32),
            None => Tensor { node: Arc::clone(node), output },
        };
        let outputs: Vec<Tensor> = (0..count).map(of).collect();
        // A rule may count on the cotangent of its first output.
        let mut cotangents = cotangents;
        if cotangents[0].is_none() {
            cotangents[0] = Some(Tensor::zeros(&node.device, outputs[0].shape()).cast(outputs[0].dtype()));
        }
        let needed: Vec<bool> = history.inputs.iter().map(|i| walk.needed(i)).collect();
        let context = Vjp { inputs: &history.inputs, outputs: &outputs, cotangents: &cotangents, needed: &needed };
        let line = RecordedAt::line(node.at);
        let found = history.op.vjp(&context);
        drop(line);
        let Some(found) = found else { continue };
        assert_eq!(
            found.len(),
            history.inputs.len(),
            "the backward rule of {} answers for {} of its {} inputs",
            history.op.name(),
            found.len(),
            history.inputs.len()
        );
        for ((input, dx), needed) in history.inputs.iter().zip(found).zip(needed) {
            if let (Some(dx), true) = (dx, needed) {
                assert!(
                    dx.shape() == input.shape(),
                    "the backward rule of {} gives a cotangent of shape {} for an input of shape {}",
                    history.op.name(),
                    dx.shape(),
                    input.shape()
                );
                accumulate(&mut sums, input, dx);
            }
        }
    }
    wrt.iter().map(|x| sums.get(&(Arc::as_ptr(&x.node), x.output)).cloned()).collect()
}

/// The answer of a backward rule for an op that can be written in other ops: the vector-Jacobian product of `f`, which
/// records the op's outputs from its inputs. What it records is differentiable as often as what `f` records.
///
/// An input may depend on another (a state on a weight); each is given to `f` as a view of its own, so that the
/// gradient of one does not run on into the next.
///
/// # Panics
/// If `f` does not record outputs of the op's shapes.
pub fn rule_of(v: &Vjp, f: impl FnOnce(&[Tensor]) -> Vec<Tensor>) -> Vec<Option<Tensor>> {
    let inputs: Vec<Tensor> = v.inputs.iter().map(|x| x.unsqueeze(0).squeeze(0)).collect();
    let outputs = f(&inputs);
    let given = outputs.iter().zip(v.cotangents).filter_map(|(y, dy)| Some((y, dy.as_ref()?)));
    let (ys, dys): (Vec<&Tensor>, Vec<&Tensor>) = given.unzip();
    let found = try_vjp(&ys, &dys, &inputs.iter().collect::<Vec<_>>());
    found.into_iter().zip(v.needed).map(|(dx, needed)| dx.filter(|_| *needed)).collect()
}

/// The Jacobian-vector product: the derivative of each output in the direction `tangents` of `inputs`.
///
/// # Panics
/// As [`vjp`].
#[track_caller]
pub fn jvp(outputs: &[&Tensor], inputs: &[&Tensor], tangents: &[&Tensor]) -> Vec<Tensor> {
    // The vjp is linear in these, so their values do not matter; that they are tensors of the graph does.
    let dummies: Vec<Tensor> = outputs.iter().map(|y| Tensor::zeros(y.device(), y.shape())).collect();
    let dummies: Vec<&Tensor> = dummies.iter().collect();
    let pulled = vjp(outputs, &dummies, inputs);
    vjp(&pulled.iter().collect::<Vec<_>>(), tangents, &dummies)
}

/// Adds to the cotangent of a tensor, which is of the tensor's type: that of a half is half.
fn accumulate(sums: &mut QuickMap<(*const Node, usize), Tensor>, x: &Tensor, dx: Tensor) {
    let dx = if x.dtype().is_float() { dx.cast(x.dtype()) } else { dx };
    let key = (Arc::as_ptr(&x.node), x.output);
    let sum = match sums.get(&key) {
        Some(sum) => sum + &dx,
        None => dx,
    };
    sums.insert(key, sum);
}

/// The nodes between `wrt` and the outputs, inputs first.
struct Walk {
    order: Vec<Arc<Node>>,
    needed: QuickMap<*const Node, bool>,
    wrt: Vec<*const Node>,
}

impl Walk {
    fn from(outputs: &[&Tensor], wrt: &[&Tensor]) -> Walk {
        let mut walk = Walk {
            order: Vec::new(),
            needed: QuickMap::default(),
            wrt: wrt.iter().map(|x| Arc::as_ptr(&x.node)).collect(),
        };
        // Depth first without recursion; a node is finished when its inputs are.
        let mut stack: Vec<(Arc<Node>, bool)> = outputs.iter().map(|y| (Arc::clone(&y.node), false)).collect();
        while let Some((node, finished)) = stack.pop() {
            let key = Arc::as_ptr(&node);
            if walk.needed.contains_key(&key) {
                continue;
            }
            if !finished {
                let at = stack.len();
                // Behind an op without gradient there may be all of another optimizer's step.
                node.with_history(|h| {
                    let passed = h.filter(|h| h.op.no_grad().is_none());
                    stack.extend(passed.iter().flat_map(|h| &h.inputs).map(|i| (Arc::clone(&i.node), false)))
                });
                if stack.len() > at {
                    stack.insert(at, (node, true));
                    continue;
                }
            }
            let gives = |h: &History| h.op.no_grad().is_none() && h.inputs.iter().any(|i| walk.needed(i));
            let needed = node.with_history(|h| h.is_some_and(gives)) || walk.is_wrt(&node);
            walk.needed.insert(key, needed);
            if needed {
                walk.order.push(node);
            }
        }
        walk
    }

    /// The halves that single floats were rounded to, by what they were made of.
    fn rounded(&self) -> QuickMap<(*const Node, usize), Tensor> {
        let halves = self.order.iter().filter(|node| node.metas[0].dtype == DType::F16);
        halves
            .filter_map(|node| {
                node.with_history(|history| match &history?.inputs[..] {
                    [x] if x.dtype() == DType::F32 => {
                        Some(((Arc::as_ptr(&x.node), x.output), Tensor { node: Arc::clone(node), output: 0 }))
                    }
                    _ => None,
                })
            })
            .collect()
    }

    fn needed(&self, x: &Tensor) -> bool {
        self.needed.get(&Arc::as_ptr(&x.node)).copied().unwrap_or(false)
    }

    fn is_wrt(&self, node: &Arc<Node>) -> bool {
        self.wrt.contains(&Arc::as_ptr(node))
    }
}
