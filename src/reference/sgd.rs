//! Stochastic gradient descent, as PyTorch's `torch.optim.SGD` states it.

use super::{Array, Real, View};

/// `g += decay p; b = momentum b + (1 - dampening) g; p -= rate (nesterov ? g + momentum b : b)`, with `hyper` =
/// rate, momentum, 1 - dampening, decay. Without `buffer` the step is `p -= rate g`.
pub fn step<T: Real>(inputs: &[View<T>], nesterov: bool) -> Vec<Array<T>> {
    let (hyper, buffered) = (inputs[inputs.len() - 1].floats(), inputs.len() == 4);
    let (rate, momentum, keep, decay) = (hyper[0], hyper[1], hyper[2], hyper[3]);
    let mut p = inputs[0].floats().into_owned();
    let g = inputs[inputs.len() - 2].floats();
    if !buffered {
        for (p, &g) in p.iter_mut().zip(g.iter()) {
            *p -= rate * (g + decay * *p);
        }
        return vec![Array::floats(inputs[0].shape, p)];
    }
    let mut b = inputs[1].floats().into_owned();
    for ((p, b), &g) in p.iter_mut().zip(&mut b).zip(g.iter()) {
        let g = g + decay * *p;
        *b = momentum * *b + keep * g;
        *p -= rate * if nesterov { g + momentum * *b } else { *b };
    }
    vec![Array::floats(inputs[0].shape, p), Array::floats(inputs[0].shape, b)]
}
