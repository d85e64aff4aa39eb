//! The tools that prove things on a user's own machine find what is planted: a wrong kernel, a NaN, a wrong rule.

use wgrad::autodiff::{grad, gradcheck, gradgradcheck, hessian, hvp, jacobian};
use wgrad::device::Check;
use wgrad::device::Shader;
use wgrad::error::ShapeError;
use wgrad::nn::{Conv2d, Init, Linear, Module, Pass, Relu, Sequential};
use wgrad::ops::Conv2dOptions;
use wgrad::optim::{Adam, Optimizer};
use wgrad::reference::{Array, Real, View};
use wgrad::tensor::{Backward, Input, LoweredDispatch, Lowering, Meta, Op, Sample, Scalar, Tolerance, Vjp};
use wgrad::{Device, Error, Tensor};

use crate::merge;
use crate::registry::{tensor, under_test};

wgrad::params! {
    struct N { n: u32 }
}

/// x^3, with whatever mistakes are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Cube {
    wrong_kernel: bool,
    wrong_rule: bool,
    fused: bool,
}

const CUBE: Shader = Shader::new(
    "cube",
    "override WG: u32 = 64;
override WRONG: u32 = 0;
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = group.x * WG + local;
    if (i < p.n) { y[i] = x[i] * x[i] * select(x[i], x[i] + 1.0, WRONG == 1u && i == 3u); }
}",
);

fn cubes(args: &[&[u32]], out: &mut [u32]) {
    for (o, &a) in out.iter_mut().zip(args[0]) {
        let x = f32::from_bits(a);
        *o = (x * x * x).to_bits();
    }
}

impl Op for Cube {
    const NAME: &'static str = "cube";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        Ok(vec![inputs[0].clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v: &Vjp| {
            let x = &v.inputs[0];
            vec![Some(&(v.dy() * &(x * x)) * if op.wrong_rule { 2.0 } else { 3.0 })]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        if self.fused {
            return Lowering::Elementwise(|op, _| Scalar {
                wgsl: if op.wrong_kernel { "({a} * {a} * abs({a}))" } else { "({a} * {a} * {a})" },
                block: cubes,
                cheap: true,
            });
        }
        Lowering::Kernel(|op, cx| {
            let n = cx.meta(0).shape.elements();
            let launch = LoweredDispatch::new(&CUBE, "main").constant("WRONG", op.wrong_kernel as u32);
            let (x, y) = (cx.input(0), cx.output(0));
            cx.launch(launch.read(x).write(y).params(&N { n: n as u32 }).independent(1).flat(n, 64));
        })
    }
    fn reference<T: Real>(&self, x: &[View<T>]) -> Vec<Array<T>> {
        vec![Array::floats(x[0].shape, x[0].floats().iter().map(|&x| x * x * x).collect())]
    }
    fn samples() -> Vec<Sample<Self>> {
        let right = Cube { wrong_kernel: false, wrong_rule: false, fused: false };
        vec![Sample::new(right, vec![Input::uniform([7], -1.0, 1.0, 1)], Tolerance::Relative(1e-6))]
    }
}

const RIGHT: Cube = Cube { wrong_kernel: false, wrong_rule: false, fused: false };

fn numbers(device: &Device, values: &[f32]) -> Tensor {
    Tensor::from_slice(device, values, values.len()).unwrap()
}

fn check_error(result: Result<(), Error>) -> String {
    match result {
        Err(Error::Check(text)) => text,
        other => panic!("the planted mistake was not found: {other:?}"),
    }
}

#[test]
fn a_wrong_kernel_is_found_and_named() {
    // By itself, and merged with the launches around it.
    for (device, shader) in [(under_test(), "shader cube"), (merge::device(true, false), "shader merged")] {
        let device = device.checked();
        let x = numbers(&device, &[1., -2., 3., 4., 5.]);
        let y = Tensor::apply(RIGHT, &[&(&x + 1.0)]);
        assert_eq!((&y * 2.0).to_vec::<f32>().unwrap(), [16., -2., 128., 250., 432.]);
        let wrong = Cube { wrong_kernel: true, ..RIGHT };
        let line = line!() + 1;
        let y = Tensor::apply(wrong, &[&(&x + 1.0)]);
        let text = check_error((&y * 2.0).to_vec::<f32>().map(drop));
        let wanted = ["Cube", "wrong_kernel: true", "[5]", "element 3 is 1.5e2", "1.25e2", shader, "WGRAD_DUMP"];
        assert!(wanted.iter().all(|w| text.contains(w)), "{text}");
        assert!(text.contains(&format!("check.rs:{line}")), "{text}");
    }
}

#[test]
fn a_wrong_formula_inside_a_fused_kernel_is_found() {
    let device = under_test().checked();
    let x = numbers(&device, &[1., -2., 3.]);
    let y = Tensor::apply(Cube { wrong_kernel: true, fused: true, ..RIGHT }, &[&(&x + 1.0)]);
    let text = check_error((&y * 2.0).to_vec::<f32>().map(drop));
    assert!(text.contains("a fused kernel of") && text.contains("element 1 is 1e0, the CPU has -1e0"), "{text}");
}

/// Forward, backward and the update in place of a whole training step agree, step by step; and a wrong kernel in the
/// backward pass is laid at the line of the op in the forward pass.
#[test]
fn a_training_step_is_checked_whole() {
    for device in [under_test(), merge::device(true, false), Device::cpu()] {
        let device = device.checked();
        let init = &mut Init::new(&device, 3);
        let mut model = Sequential::new()
            .then(Conv2d::new(init, 1, 2, [3, 3], Conv2dOptions::default()).unwrap())
            .then(Relu)
            .then(wgrad::nn::Flatten)
            .then(Linear::new(init, 2 * 4 * 4, 3).unwrap());
        let x = tensor(&device, &Input::uniform([2, 1, 6, 6], 0.0, 1.0, 1));
        let labels = tensor(&device, &Input::below([2], 3, 2));
        let mut adam = Adam::new(0.01);
        for _ in 0..2 {
            let loss = model.forward(&x, &mut Pass::train(1)).cross_entropy(&labels);
            adam.step(&mut model, &loss).unwrap();
        }
    }
}

/// The gradient of this one runs [`Cube`] with the mistake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WrongBackward;

impl Op for WrongBackward {
    const NAME: &'static str = "wrong_backward";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        Ok(vec![inputs[0].clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|_, v| vec![Some(Tensor::apply(Cube { wrong_kernel: true, ..RIGHT }, &[v.dy()]))])
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|_, _| Scalar { wgsl: "{a}", block: |a, out| out.copy_from_slice(a[0]), cheap: true })
    }
    fn reference<T: Real>(&self, x: &[View<T>]) -> Vec<Array<T>> {
        vec![x[0].to_array()]
    }
    fn samples() -> Vec<Sample<Self>> {
        Vec::new()
    }
}

#[test]
fn a_wrong_kernel_in_the_backward_pass_is_laid_at_the_line_of_the_forward_pass() {
    let device = under_test().checked();
    let x = numbers(&device, &[1., -2., 3., 4., 5.]);
    let line = line!() + 1;
    let y = Tensor::apply(WrongBackward, &[&x]);
    let slope = grad(&(&y * &x).sum_all(), &[&x]).swap_remove(0);
    let text = check_error(slope.to_vec::<f32>().map(drop));
    assert!(text.contains(&format!("check.rs:{line}")), "{text}");
}

#[test]
fn the_op_that_makes_a_nan_is_named_with_what_went_in() {
    for device in [under_test(), Device::cpu()] {
        device.set_check(Check::Finite);
        let x = numbers(&device, &[4., 1., -2.25, 9.]);
        let y = &(&(&x - 1.0) * 2.0).sqrt() + 1.0;
        let text = check_error(y.sum_all().item().map(drop));
        let wanted = ["Sqrt", "element 2", "-6.5e0", "check.rs"];
        assert!(wanted.iter().all(|w| text.contains(w)), "{text}");
        let masked = numbers(&device, &[f32::NEG_INFINITY, 1.0, 2.0]);
        masked.softmax(0).to_vec::<f32>().expect("an infinity that came in is nobody's mistake");
    }
}

#[test]
fn gradcheck_passes_what_is_right_on_every_device() {
    for device in [under_test(), Device::cpu(), Device::reference()] {
        let (x, w) = (
            tensor(&device, &Input::uniform([2, 3], -1.0, 1.0, 1)),
            tensor(&device, &Input::uniform([3, 2], -1.0, 1.0, 2)),
        );
        let f = |t: &[Tensor]| t[0].matmul(&t[1]).tanh();
        let report = gradcheck(&[&x, &w], f).unwrap();
        assert!(report.elements == 12 && report.worst < 0.5, "{report:?}");
        let report = gradgradcheck(&[&x, &w], f).unwrap();
        assert!(report.worst < 0.5, "{report:?}");
    }
}

#[test]
fn gradcheck_names_the_input_and_the_element() {
    let device = under_test();
    let (x, y) = (numbers(&device, &[0.5, -0.1, 0.9]), numbers(&device, &[1.0, 2.0, 3.0]));
    let wrong = Cube { wrong_rule: true, ..RIGHT };
    let text = check_error(gradcheck(&[&y, &x], |t| &t[0] + &Tensor::apply(wrong.clone(), &[&t[1]])).map(drop));
    assert!(text.contains("input 1, element [2] of [3]"), "{text}");
    gradcheck(&[&x], |t| Tensor::apply(RIGHT, &[&t[0]])).unwrap();
    // The first derivative may be right and the second wrong.
    let detached = |t: &[Tensor]| &t[0] * &t[0].square().detach();
    assert!(matches!(gradgradcheck(&[&x], |t| detached(t)), Err(Error::Check(_))));
}

#[test]
fn gradcheck_of_a_model_names_the_parameter() {
    for device in [under_test(), Device::cpu()] {
        let mut layer = Linear::new(&mut Init::new(&device, 1), 3, 2).unwrap();
        let x = tensor(&device, &Input::uniform([4, 3], -1.0, 1.0, 1));
        let before = layer.weight.get().to_vec::<f32>().unwrap();
        let report =
            wgrad::nn::gradcheck(&mut layer, &[&x], |l, x| l.forward(&x[0], &mut Pass::eval()).tanh()).unwrap();
        assert_eq!(report.elements, 8);
        let wrong = Cube { wrong_rule: true, ..RIGHT };
        let cubed = |l: &Linear, x: &[Tensor]| {
            let bias = Tensor::apply(wrong.clone(), &[l.bias.as_ref().unwrap().get()]);
            &x[0].matmul(&l.weight.get().transpose(0, 1)) + &bias
        };
        let text = check_error(wgrad::nn::gradcheck(&mut layer, &[&x], cubed).map(drop));
        assert!(text.contains("bias, element"), "{text}");
        assert_eq!(layer.weight.get().to_vec::<f32>().unwrap(), before, "the model is as it was");
        assert!(layer.weight.get().device().same(&device));
    }
}

#[test]
fn hessians_and_jacobians_are_those_of_the_textbook() {
    let device = Device::reference();
    let x = Tensor::from_f64_slice(&device, &[1.0, 2.0, -0.5], 3).unwrap();
    let a = Tensor::from_f64_slice(&device, &[2., 1., 0., 1., 3., 1., 0., 1., 4.], [3, 3]).unwrap();
    let quadratic = &x.reshape([1, 3]).matmul(&a).matmul(&x.reshape([3, 1])).sum_all() * 0.5;
    assert_eq!(hessian(&quadratic, &x).unwrap().to_f64_vec().unwrap(), a.to_f64_vec().unwrap());
    let v = Tensor::from_f64_slice(&device, &[1.0, -1.0, 2.0], 3).unwrap();
    assert_eq!(hvp(&quadratic, &[&x], &[&v])[0].to_f64_vec().unwrap(), [1.0, 0.0, 7.0]);
    let linear = (&x * 3.0).sum_all();
    assert_eq!(hessian(&linear, &x).unwrap().to_f64_vec().unwrap(), [0.0; 9]);
    let j = jacobian(&x.square(), &x).unwrap();
    assert_eq!(&**j.shape(), [3, 3]);
    assert_eq!(j.to_f64_vec().unwrap(), [2., 0., 0., 0., 4., 0., 0., 0., -1.]);
}
