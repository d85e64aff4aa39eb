//! Steps of Adam against the formulas of the paper, computed here in double precision.

use wgrad::nn::Param;
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Tensor};

use crate::registry::software;

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
    for d in [software(), Device::cpu(), Device::reference()] {
        for decoupled in [0.0, 0.1] {
            let mut p = Param::new(Tensor::from_slice(&d, &[1.0f32; 3], 3).unwrap()).unwrap();
            let mut optimizer = Adam::new(0.05).decoupled_decay(decoupled);
            for _ in 0..30 {
                let loss = (&p.get().square() * 0.5).sum_all();
                optimizer.step(&mut p, &loss).unwrap();
            }
            let (got, want) = (p.get().to_vec::<f32>().unwrap()[2] as f64, paper(30, 0.05, decoupled));
            assert!((got - want).abs() < 2e-5 * want.abs().max(0.1), "{got}, not {want}, on {d}");
        }
    }
}
