//! An op of your own, from outside the crate: attributes, shape rule, gradient, WGSL, CPU code, and one call that
//! checks it all: its kernel against its CPU code, its gradient against its slope, first and second.

use wgrad::autodiff::{gradcheck, gradgradcheck};
use wgrad::error::ShapeError;
use wgrad::reference::{Array, Real, View};
use wgrad::tensor::{Backward, Entry, Input, LoweredDispatch, Lowering, Meta, Op, Sample, Tolerance};
use wgrad::{Device, Tensor, device::Shader, selftest};

/// x / (k + |x|): the field of attributes is part of what a plan is kept by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Squash {
    k: u32,
}

const SHADER: Shader = Shader::new("squash", include_str!("custom_op.wgsl"));

wgrad::params! { struct Params { n: u32, k: f32 } }

impl Op for Squash {
    const NAME: &'static str = "squash";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        Ok(vec![inputs[0].clone()])
    }
    fn backward(&self) -> Backward<Self> {
        // k / (k + |x|)^2, in ops that have gradients themselves: so this one can be differentiated again.
        Backward::Rule(|op, v| {
            let k = op.k as f32;
            vec![Some(&(v.dy() * k) / &(&v.inputs[0].abs() + k).square())]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let n = cx.meta(0).shape.elements();
            let (x, y) = (cx.input(0), cx.output(0));
            let params = Params { n: n as u32, k: op.k as f32 };
            cx.launch(LoweredDispatch::new(&SHADER, "main").read(x).write(y).params(&params).flat(n, 64));
        })
    }
    fn reference<T: Real>(&self, x: &[View<T>]) -> Vec<Array<T>> {
        let k = T::of(self.k as f64);
        vec![Array::floats(x[0].shape, x[0].floats().iter().map(|&x| x / (k + x.abs())).collect())]
    }
    fn samples() -> Vec<Sample<Self>> {
        let x = Input::uniform([5, 7], 0.1, 3.0, 1);
        vec![
            Sample::new(Squash { k: 2 }, vec![x.clone()], Tolerance::Relative(1e-6)),
            Sample::new(Squash { k: 1 }, vec![x.viewed()], Tolerance::Relative(1e-6)),
        ]
    }
}

fn main() -> wgrad::Result<()> {
    let device = Device::auto()?;
    let x = Tensor::from_slice(&device, &[-1.5f32, 0.2, 0.7, 4.0], 4)?;
    let squash = |x: &Tensor| Tensor::apply(Squash { k: 2 }, &[x]);
    println!("{:?} on {device}", squash(&x).to_vec::<f32>()?);

    let found = selftest::run(&device, &Entry::of::<Squash>());
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    println!("kernel: {} samples, {:.2} of the allowed error", found.samples, found.worst);
    println!("gradient: {:?}", gradcheck(&[&x], |x| squash(&x[0]))?);
    println!("second: {:?}", gradgradcheck(&[&x], |x| squash(&x[0]))?);
    Ok(())
}
