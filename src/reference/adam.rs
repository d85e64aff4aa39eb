//! Adam and AdamW, as PyTorch's `torch.optim.Adam` and `AdamW` state them (Kingma and Ba 2015; Loshchilov and Hutter 2019).

use rayon::prelude::*;

use super::{Array, Real, View};

/// Elements per task.
const CHUNK: usize = 1 << 15;

/// One step on parameters, first and second moment, gradient, in that order. `hyper` is: rate / (1 - beta1^t), beta1,
/// 1 - beta1, beta2, 1 - beta2, 1 / sqrt(1 - beta2^t), epsilon, L2 decay, rate times decoupled decay.
pub fn step<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    let hyper = inputs[4].floats();
    // A copy on the stack: the compiler may then assume that no store below changes it, and vectorises.
    let h: [T; 9] = std::array::from_fn(|i| hyper[i]);
    let (mut p, mut m) = (inputs[0].floats().into_owned(), inputs[1].floats().into_owned());
    let (mut v, g) = (inputs[2].floats().into_owned(), inputs[3].floats());
    let chunks =
        p.par_chunks_mut(CHUNK).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK)).zip(g.par_chunks(CHUNK));
    chunks.for_each(|(((p, m), v), g)| {
        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = g + h[7] * *p;
            *m = h[1] * *m + h[2] * g;
            *v = h[3] * *v + h[4] * g * g;
            *p -= h[8] * *p + h[0] * *m / (v.sqrt() * h[5] + h[6]);
        }
    });
    [p, m, v].map(|x| Array::floats(inputs[0].shape, x)).into()
}
