//! Steps of the optimizers against formulas computed here in double precision; 50 steps of each against PyTorch's are
//! in `kernels-test/optim`.

use wgrad::nn::Param;
use wgrad::ops::update::Update;
use wgrad::optim::{Adam, AdamW, InverseTime, Optimizer, Sgd};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

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
fn two_steps_of_sgd_by_hand() {
    for d in [under_test(), Device::cpu()] {
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

/// Kingma and Ba, algorithm 1, on the loss `p^2 / 2`; `decoupled` as Loshchilov and Hutter, algorithm 2.
fn paper(steps: usize, rate: f64, decoupled: f64) -> f64 {
    let (mut p, mut m, mut v) = (1.0, 0.0, 0.0);
    for t in 1..=steps as i32 {
        let g: f64 = p;
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
        p -= rate * decoupled * p + rate * m_hat / (v_hat.sqrt() + 1e-8);
    }
    p
}

#[test]
fn the_papers_algorithm() {
    let after_30 = |d: &Device, mut optimizer: Box<dyn Optimizer>| {
        let mut p = Param::new(Tensor::from_slice(d, &[1.0f32; 3], 3).unwrap()).unwrap();
        for _ in 0..30 {
            let loss = (&p.get().square() * 0.5).sum_all();
            optimizer.step(&mut p, &loss).unwrap();
        }
        p.get().to_vec::<f32>().unwrap()[2] as f64
    };
    for d in [under_test(), Device::cpu(), Device::reference()] {
        let adam = after_30(&d, Box::new(Adam::new(0.05)));
        let adamw = after_30(&d, Box::new(AdamW::new(0.05).weight_decay(0.1)));
        for (got, want) in [(adam, paper(30, 0.05, 0.0)), (adamw, paper(30, 0.05, 0.1))] {
            assert!((got - want).abs() < 2e-5 * want.abs().max(0.1), "{got}, not {want}, on {d}");
        }
    }
}

/// The momentum of ONNX's training operators: `v = alpha v + beta (g + norm x); x -= rate v`.
#[test]
fn a_step_by_numbers_of_ones_own() {
    let d = Device::cpu();
    let tensor = |values: &[f32]| Tensor::from_slice(&d, values, [values.len()]).unwrap();
    let (x, v, g) = (tensor(&[1.0, 2.8]), tensor(&[2.0, 1.0]), tensor(&[-0.94, -2.5]));
    let (rate, alpha, beta, norm) = (0.1, 0.95, 0.85, 0.001);
    let new = Update::Momentum.apply(&x, &[&v], &g, &[norm, 0.0, rate, alpha, beta, 0.0, 1.0]).unwrap();
    let want_v = [0.95 * 2.0 + 0.85 * (-0.94 + 0.001), 0.95 + 0.85 * (-2.5 + 0.0028)];
    let got = new[1].to_vec::<f32>().unwrap();
    assert!(got.iter().zip(want_v).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}, not {want_v:?}");
    let got = new[0].to_vec::<f32>().unwrap();
    let want = [1.0 - 0.1 * want_v[0], 2.8 - 0.1 * want_v[1]];
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}, not {want:?}");
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.0, 2.8], "an update changes nothing that somebody holds");
}

/// Where a GPU has enough to do, an invocation updates several elements of a block: each of them once, and none beyond
/// the end. Momentum in double precision.
#[test]
fn many_parameters_are_updated_once_each() {
    let n = (1 << 20) + 37;
    let values = |seed: usize| (0..n).map(|i| ((i * 7919 + seed) % 1009) as f32 / 1009.0 - 0.5).collect::<Vec<f32>>();
    let (p, b, g) = (values(1), values(2), values(3));
    for device in [under_test(), crate::merge::device(false, false)] {
        let tensor = |values: &[f32]| Tensor::from_slice(&device, values, [n]).unwrap();
        let numbers = [0.0, 0.0, 0.1, 0.9, 1.0, 0.0, 1.0];
        let updated = Update::Momentum.apply(&tensor(&p), &[&tensor(&b)], &tensor(&g), &numbers).unwrap();
        let (parameters, buffers) = (updated[0].to_vec::<f32>().unwrap(), updated[1].to_vec::<f32>().unwrap());
        for i in 0..n {
            let buffer = 0.9f32 as f64 * b[i] as f64 + g[i] as f64;
            let parameter = p[i] as f64 - 0.1f32 as f64 * buffer;
            let near = |got: f32, want: f64| (got as f64 - want).abs() <= 2e-7;
            assert!(near(buffers[i], buffer) && near(parameters[i], parameter), "element {i} on {device}");
        }
    }
}
