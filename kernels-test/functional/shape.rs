//! Shapes against PyTorch's answers (`fixtures/shape.py` made them), what is a view, and what is refused.

use serde_json::Value;
use wgrad::autodiff::grad;
use wgrad::{Device, Shape, Tensor};

use crate::registry::under_test;

pub fn count_up(device: &Device, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_slice(device, &(0..n).map(|i| i as f32).collect::<Vec<_>>(), shape).unwrap()
}

/// Pieces as one row, numbered in hundreds.
fn row(pieces: Vec<Tensor>, numbered: bool) -> Tensor {
    let flat = |(i, t): (usize, &Tensor)| t.reshape([t.elements()]) + if numbered { 100.0 * i as f32 } else { 0.0 };
    let flat: Vec<Tensor> = pieces.iter().enumerate().map(flat).collect();
    Tensor::concat(&flat.iter().collect::<Vec<_>>(), 0)
}

fn call(name: &str, x: &Tensor) -> Tensor {
    let d = x.device();
    let grid = |xy| {
        let grids = Tensor::meshgrid(&[x, &(&x.narrow(0, 0, 2) + 10.0)], xy);
        Tensor::stack(&grids.iter().collect::<Vec<_>>(), 0)
    };
    match name {
        "reshape_infer" => x.reshape_infer(&[4, -1]),
        "flatten_axes(1,-1)" => x.flatten_axes(1, -1),
        "flatten_axes(0,1)" => x.flatten_axes(0, 1),
        "flatten_axes(0,-1)" => x.flatten_axes(0, -1),
        "unflatten" => x.unflatten(-1, &[-1, 2]),
        "squeeze_axes(0,1)" => x.squeeze_axes(&[0, 1]),
        "squeeze_all" => x.squeeze_all(),
        "unsqueeze(-1)" => x.unsqueeze(-1),
        "expand" => x.expand(&[2, -1, 4]),
        "transpose(-1,0)" => x.transpose(-1, 0),
        "movedim(0,-1)" => x.movedim(&[0], &[-1]),
        "movedim([0,1],[2,0])" => x.movedim(&[0, 1], &[2, 0]),
        "flip_axes(0,-1)" => x.flip_axes(&[0, -1]),
        "fliplr" => x.fliplr(),
        "flipud" => x.flipud(),
        "rot90(1)" => x.rot90(1, [0, 1]),
        "rot90(2)" => x.rot90(2, [0, 1]),
        "rot90(-1)" => x.rot90(-1, [0, 1]),
        "roll(1,-4;0,1)" => x.roll(&[1, -4], &[0, 1]),
        "roll(2)" => x.roll(&[2], &[]),
        "slice(1:-1:2)" => x.slice_axis(0, Some(1), Some(-1), 2),
        "slice(-100:3)" => x.slice_axis(0, Some(-100), Some(3), 1),
        "slice(5:2)" => x.slice_axis(0, Some(5), Some(2), 1),
        "slice(::-3)" => x.slice_axis(0, None, None, -3),
        "slice(5:-6:-2)" => x.slice_axis(0, Some(5), Some(-6), -2),
        "index_axis(1,-2)" => x.index_axis(1, -2),
        "unbind(1)" => row(x.unbind(1), false),
        "split(2)" => row(x.split(2, 0), true),
        "split_sizes" => row(x.split_sizes(&[1, 0, 4], -1), true),
        "chunk(4)" => row(x.chunk(4, 0), true),
        "tensor_split(3)" => row(x.tensor_split(3, 0), true),
        "tensor_split_at" => row(x.tensor_split_at(&[2, -1, 9], 0), true),
        "hstack" => Tensor::hstack(&[x, x]),
        "vstack" => Tensor::vstack(&[x, x]),
        "dstack" => Tensor::dstack(&[x, x]),
        "column_stack" => Tensor::column_stack(&[x, x]),
        "tile(2)" => x.tile(&[2]),
        "tile(2,1,3)" => x.repeat(&[2, 1, 3]),
        "tile(0)" => x.tile(&[0]),
        "repeat_interleave" => x.repeat_interleave(2, None),
        "repeat_interleave(1)" => x.repeat_interleave(2, Some(-1)),
        "repeat_interleave_each" => x.repeat_interleave_each(&[2, 0, 1], 1),
        "tril(0)" => x.tril(0),
        "tril(-1)" => x.tril(-1),
        "tril(2)" => x.tril(2),
        "triu(0)" => x.triu(0),
        "triu(1)" => x.triu(1),
        "triu(-2)" => x.triu(-2),
        "diagonal(0)" => x.diagonal(0, 0, 1),
        "diagonal(1)" => x.diagonal(1, 0, 2),
        "diagonal(-1)" => x.diagonal(-1, 2, 1),
        "diagonal(9)" => x.diagonal(9, 0, 1),
        "diag_embed(0)" => x.diag_embed(0, -2, -1),
        "diag_embed(1)" => x.diag_embed(1, 0, 2),
        "diag_embed(-2)" => x.diag_embed(-2, 0, 1),
        "diag(1)" => x.diag(1),
        "diag(-1)" => x.diag(-1),
        "trace" => x.trace(),
        "unfold(-1,2,2)" => x.unfold(-1, 2, 2),
        "unfold(0,3,1)" => x.unfold(0, 3, 1),
        "select_scatter" => x.select_scatter(&Tensor::from_slice(d, &[7f32, 8.0], 2).unwrap(), 1, -1),
        "slice_scatter" => x.slice_scatter(&-x.slice_axis(0, Some(1), Some(4), 2), 0, Some(1), Some(-1), 2),
        "diff(2)" => x.square().diff(2, -1),
        "ravel" => x.ravel(),
        "meshgrid(ij)" => grid(false),
        "meshgrid(xy)" => grid(true),
        "linspace" => Tensor::linspace(d, -1.0, 2.0, 6),
        "linspace1" => Tensor::linspace(d, 3.0, 5.0, 1),
        "arange" => Tensor::arange(d, 1.0, 2.05, 0.25),
        "eye" => Tensor::eye(d, 2, 4),
        "eye2" => Tensor::eye(d, 3, 2),
        _ => panic!("no function {name}"),
    }
}

/// Where the steps meet the end is told from the numbers as they are written: PyTorch's counts.
#[test]
fn how_many_steps_there_are() {
    let d = Device::cpu();
    assert_eq!(Tensor::arange(&d, 0.1, 1.1, 1.0).shape()[..], [1]);
    assert_eq!(Tensor::arange(&d, 0.1, -7.9, -4.0).shape()[..], [2]);
    assert_eq!(Tensor::arange(&d, 0.0, 1.0, 0.1).shape()[..], [10]);
}

pub fn extents(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

/// What is wrong with `y`, in shape or values.
pub fn fault(y: &Tensor, want: &Value) -> Option<String> {
    let shape: Shape = extents(&want["shape"]).into();
    let values: Vec<f32> = want["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    let got = y.to_vec::<f32>().unwrap();
    let near = got.iter().zip(&values).all(|(g, w)| (g - w).abs() < 1e-6);
    (*y.shape() != shape || !near).then(|| format!("is {} {got:?}, should be {shape} {values:?}", y.shape()))
}

#[test]
fn shapes_and_values_are_pytorchs() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/shape.json")).unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() > 60);
    let mut faults = Vec::new();
    for device in [under_test(), Device::cpu()] {
        for case in cases {
            let name = case["name"].as_str().unwrap();
            let y = call(name, &count_up(&device, &extents(&case["of"])));
            if let Some(fault) = fault(&y, &case["is"]) {
                faults.push(format!("{name} on {device} {fault}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn views_take_no_kernel_until_they_are_read() {
    let d = under_test();
    let x = count_up(&d, &[4, 6]);
    let launches = |make: &dyn Fn() -> Tensor| {
        let before = d.counters();
        make().to_vec::<f32>().unwrap();
        d.counters().since(&before).dispatches
    };
    assert_eq!(launches(&|| x.diagonal(1, 0, 1).neg()), 1);
    assert_eq!(launches(&|| x.unfold(1, 3, 2).neg()), 1);
    assert_eq!(launches(&|| x.slice_axis(1, Some(-2), None, -2).neg()), 1);
    assert_eq!(launches(&|| x.expand(&[3, -1, -1]).rot90(1, [0, 2]).neg()), 1);
    assert_eq!(launches(&|| x.index_axis(0, -1)), 0, "a row of a matrix");
}

#[test]
fn gradients_come_back_in_place() {
    for d in [under_test(), Device::cpu()] {
        let slope = |f: &dyn Fn(&Tensor) -> Tensor, shape: &[usize]| {
            let x = count_up(&d, shape).into_leaf(true).unwrap();
            let y = f(&x);
            let weighted = (&y * &(count_up(&d, y.shape()) + 1.0)).sum_all();
            grad(&weighted, &[&x])[0].to_vec::<f32>().unwrap()
        };
        assert_eq!(slope(&|x| x.unfold(0, 3, 1), &[4]), [1.0, 2.0 + 4.0, 3.0 + 5.0, 6.0], "on {d}");
        assert_eq!(slope(&|x| x.diagonal(1, 0, 1), &[2, 3]), [0.0, 1.0, 0.0, 0.0, 0.0, 2.0], "on {d}");
        assert_eq!(slope(&|x| x.diag_embed(0, 0, 1), &[2]), [1.0, 4.0], "on {d}");
        assert_eq!(slope(&|x| x.tril(0), &[2, 2]), [1.0, 0.0, 3.0, 4.0], "on {d}");
        assert_eq!(slope(&|x| x.tile(&[2]), &[2]), [1.0 + 3.0, 2.0 + 4.0], "on {d}");
        assert_eq!(slope(&|x| x.roll(&[1], &[0]), &[3]), [2.0, 3.0, 1.0], "on {d}");
        assert_eq!(slope(&|x| x.slice_axis(0, None, None, -2), &[3]), [2.0, 0.0, 1.0], "on {d}");
    }
}

#[test]
fn whole_numbers_and_truth_values_keep_their_type() {
    for d in [under_test(), Device::cpu()] {
        let x = Tensor::from_slice(&d, &[1i32, -2, 3, 4], [2, 2]).unwrap();
        assert_eq!(x.tril(0).to_vec::<i32>().unwrap(), [1, 0, 3, 4], "on {d}");
        assert_eq!(x.diagonal(0, 0, 1).diag(0).to_vec::<i32>().unwrap(), [1, 0, 0, 4], "on {d}");
        assert_eq!(x.unfold(1, 2, 1).to_vec::<i32>().unwrap(), [1, -2, 3, 4], "on {d}");
        let mask = x.gt(0);
        assert_eq!(mask.triu(0).to_vec::<u32>().unwrap(), [1, 0, 0, 1], "on {d}");
        assert_eq!(mask.ones_like().roll(&[1], &[1]).to_vec::<u32>().unwrap(), [1; 4], "on {d}");
        assert_eq!(
            (x.full_like(7i32).dtype(), x.zeros_like().to_vec::<i32>().unwrap()),
            (x.dtype(), vec![0; 4]),
            "on {d}"
        );
    }
}

#[test]
#[should_panic(expected = "unfold: windows of 4 elements, 1 apart, along axis 0 of [3]")]
fn a_window_must_fit() {
    count_up(&Device::cpu(), &[3]).unfold(0, 4, 1);
}

#[test]
#[should_panic(expected = "reshape: [2, 3] holds 6 elements; no extent at -1 makes [4, -1] hold them")]
fn what_is_left_must_be_whole() {
    count_up(&Device::cpu(), &[2, 3]).reshape_infer(&[4, -1]);
}

#[test]
#[should_panic(expected = "axis 1 of [2, 3] has no entry 3")]
fn an_entry_must_exist() {
    count_up(&Device::cpu(), &[2, 3]).index_axis(-1, 3);
}
