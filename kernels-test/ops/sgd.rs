//! Two steps of SGD by hand, in the form of `torch.optim.SGD`.

use wgrad::nn::Param;
use wgrad::optim::{InverseTime, Optimizer, Sgd};
use wgrad::{Device, Tensor};

use crate::registry::software;

/// The parameter after each of two steps on the loss `p^2 / 2`, whose gradient is `p`.
fn two_steps(device: &Device, mut optimizer: Sgd) -> [f32; 2] {
    let mut p = Param::new(Tensor::from_slice(device, &[1.0f32], 1).unwrap()).unwrap();
    [0, 1].map(|_| {
        let loss = (&p.get().square() * 0.5).sum_all();
        optimizer.step(&mut p, &loss).unwrap();
        p.get().item().unwrap()
    })
}

fn check(got: [f32; 2], want: [f32; 2]) {
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}, not {want:?}");
}

#[test]
fn worked_examples() {
    for d in [software(), Device::cpu()] {
        // p = 1 - 0.1 = 0.9; 0.9 - 0.09 = 0.81
        check(two_steps(&d, Sgd::new(0.1)), [0.9, 0.81]);
        // b = 1, p = 0.9; b = 0.9 + 0.9 = 1.8, p = 0.9 - 0.18 = 0.72
        check(two_steps(&d, Sgd::new(0.1).momentum(0.9)), [0.9, 0.72]);
        // g + 0.9 b = 1.9, p = 0.81; b = 0.9 + 0.81 = 1.71, p = 0.81 - 0.1 (0.81 + 1.539) = 0.5751
        check(two_steps(&d, Sgd::new(0.1).momentum(0.9).nesterov()), [0.81, 0.5751]);
        // g = p + 0.5 p = 1.5, p = 0.85; g = 1.275, p = 0.7225
        check(two_steps(&d, Sgd::new(0.1).weight_decay(0.5)), [0.85, 0.7225]);
        // rates 0.1 and 0.1 / 2
        check(two_steps(&d, Sgd::scheduled(InverseTime { initial: 0.1, decay: 1.0 })), [0.9, 0.855]);
    }
}
