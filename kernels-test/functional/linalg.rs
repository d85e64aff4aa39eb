//! Products of vectors and matrices, Einstein's sums and distances against PyTorch's answers.

use wgrad::{Device, Tensor};

use super::torch::{Case, check};
use crate::registry::under_test;

fn run(case: &Case) -> Vec<Tensor> {
    let x = &case.inputs[0];
    let all: Vec<&Tensor> = case.inputs.iter().collect();
    let other = || case.input(1).expect("a second input");
    let axes = |name: &str| -> Vec<isize> {
        case.args[name].as_array().expect("axes").iter().map(|v| v.as_i64().unwrap() as isize).collect()
    };
    let p = || -> f32 { case.args["p"].as_str().expect("p").parse().unwrap() };
    // Without a beta the first input is one that must not be read.
    let blended = |f: fn(&Tensor, &Tensor, &Tensor, f32, f32) -> Tensor| {
        let (beta, alpha) = (case.number("beta"), case.number("alpha"));
        match &all[..] {
            [input, a, b] => f(input, a, b, beta, alpha),
            [a, b] => f(&Tensor::full(a.device(), [], f32::NAN), a, b, beta, alpha),
            _ => panic!("{}: {} inputs", case.op, all.len()),
        }
    };
    vec![match case.op {
        "einsum" => Tensor::einsum(case.args["equation"].as_str().unwrap(), &all),
        "mm" => x.mm(other()),
        "bmm" => x.bmm(other()),
        "mv" => x.mv(other()),
        "dot" => x.dot(other()),
        "inner" => x.inner(other()),
        "outer" => x.outer(other()),
        "kron" => x.kron(other()),
        "addmm" => blended(Tensor::addmm),
        "addmv" => blended(Tensor::addmv),
        "addr" => blended(Tensor::addr),
        "baddbmm" => blended(Tensor::baddbmm),
        "addbmm" => blended(Tensor::addbmm),
        "tensordot" => x.tensordot(other(), &axes("axes"), &axes("others")),
        "linear" => x.linear(other(), case.input(2)),
        "bilinear" => x.bilinear(other(), all[2], case.input(3)),
        "multi_dot" => Tensor::multi_dot(&all),
        "matrix_power" => x.matrix_power(case.size("n") as u32),
        "cosine_similarity" => x.cosine_similarity(other(), 1, 1e-8),
        "pairwise_distance" => x.pairwise_distance(other(), p(), 1e-6),
        "cdist" => x.cdist(other(), p()),
        "matmul" => x.matmul(other()),
        name => panic!("no product {name}"),
    }]
}

#[test]
fn products_are_pytorchs_on_the_cpu_path() {
    check("linalg.json", &Device::cpu(), 1e-5, run);
}

#[test]
fn products_are_pytorchs_on_the_gpu() {
    check("linalg.json", &under_test(), 1e-5, run);
}

#[test]
fn gemm_in_all_four_orders() {
    let device = Device::cpu();
    let a = Tensor::from_slice(&device, &[1f32, 2., 3., 4., 5., 6.], [2, 3]).unwrap();
    let b = Tensor::from_slice(&device, &[1f32, 0., 2., 1., 0., 1.], [3, 2]).unwrap();
    let c = Tensor::from_slice(&device, &[10f32, 20.], [2]).unwrap();
    let (at, bt) = (a.transpose(0, 1), b.transpose(0, 1));
    for (a, b, turned) in
        [(&a, &b, [false; 2]), (&at, &b, [true, false]), (&a, &bt, [false, true]), (&at, &bt, [true; 2])]
    {
        let y = Tensor::gemm(a, b, Some(&c), [2.0, 0.5], turned).to_vec::<f32>().unwrap();
        assert_eq!(y, [15., 20., 33., 32.]);
    }
    assert_eq!(Tensor::gemm(&a, &b, None, [1.0, 0.0], [false; 2]).to_vec::<f32>().unwrap(), [5., 5., 14., 11.]);
}

#[test]
#[should_panic(expected = "does not name the 2 axes of its operand")]
fn an_equation_that_does_not_fit() {
    Tensor::einsum("ijk->i", &[&Tensor::zeros(&Device::cpu(), [2, 3])]);
}

#[test]
#[should_panic(expected = "both must have as many matrices")]
fn batches_of_two_sizes() {
    let device = Device::cpu();
    Tensor::zeros(&device, [2, 3, 4]).bmm(&Tensor::zeros(&device, [1, 4, 5]));
}
