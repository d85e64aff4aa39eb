//! Scatter, index functions and counts against PyTorch's answers.

use wgrad::functional::ScatterReduction;
use wgrad::{DType, Device, Result, Tensor};

use super::torch::{Case, check};
use crate::registry::under_test;

fn reduction(case: &Case) -> Option<ScatterReduction> {
    Some(match case.args["how"].as_str().expect("how") {
        "sum" => ScatterReduction::Sum,
        "prod" => ScatterReduction::Prod,
        "mean" => ScatterReduction::Mean,
        "amax" => ScatterReduction::Max,
        "amin" => ScatterReduction::Min,
        _ => return None,
    })
}

fn run(case: &Case) -> Vec<Tensor> {
    let x = &case.inputs[0];
    let other = || case.input(1).expect("a second input");
    let axis = || case.args["axis"].as_i64().expect("an axis") as isize;
    let index = || case.tensor("index").cast(DType::U32);
    vec![match case.op {
        "scatter" => x.scatter(axis(), &index(), other()),
        "scatter_value" => x.scatter_value(axis(), &index(), 2.5f32),
        "scatter_add" => x.scatter_add(axis(), &index(), other()),
        "scatter_reduce" => {
            let include = case.args["include"].as_bool().unwrap();
            x.scatter_reduce(axis(), &index(), other(), reduction(case).unwrap(), include)
        }
        "index_add" => x.index_add(axis(), &index(), other(), 0.5),
        "index_copy" => x.index_copy(axis(), &index(), other()),
        "index_fill" => x.index_fill(axis(), &index(), -3.0f32),
        "embedding" => x.embedding(&index(), Some(0)),
        "embedding_by_frequency" => x.embedding_by_frequency(&index(), None),
        "take" => x.take(&index()),
        "take_along_dim" => x.take_along_dim(&index(), axis()),
        "gather_nd" => x.gather_nd(&index(), case.size("batch")),
        "scatter_nd" => x.scatter_nd(&index(), other(), reduction(case)),
        "one_hot" => index().one_hot(case.size("n")),
        "bincount" => index().bincount(case.size("n"), None),
        "bincount_weights" => index().bincount(case.size("n"), Some(x)),
        "histc" => x.histc(case.size("n"), case.number("low"), case.number("high")),
        "searchsorted" => x.searchsorted(other(), case.args["right"].as_bool().unwrap()),
        name => panic!("no function {name}"),
    }]
}

#[test]
fn indexing_is_pytorchs_on_the_cpu_path() {
    check("indexing.json", &Device::cpu(), 1e-5, run);
}

#[test]
fn indexing_is_pytorchs_on_the_gpu() {
    check("indexing.json", &under_test(), 1e-5, run);
}

#[test]
fn of_several_sources_for_a_place_the_last_stays() -> Result<()> {
    for device in [Device::cpu(), under_test()] {
        let x = Tensor::from_slice(&device, &[1f32, 2., 3.], [3])?;
        let index = Tensor::from_slice(&device, &[-1i32, 0, 2, 7, -4], [5])?;
        let src = Tensor::from_slice(&device, &[10f32, 20., 30., 40., 50.], [5])?;
        assert_eq!(x.scatter(0, &index, &src).to_vec::<f32>()?, [20., 2., 30.]);
        assert_eq!(x.index_copy(0, &index, &src).to_vec::<f32>()?, [20., 2., 30.]);
        let truth = x.scatter_value(0, &index, 1u32).cast(DType::Bool).scatter_value(0, &index.narrow(0, 1, 1), 0u32);
        assert_eq!(truth.to_vec::<u32>()?, [0, 1, 1]);
    }
    Ok(())
}

#[test]
fn tuples_that_name_nothing() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[1f32, 2., 3., 4.], [2, 2])?;
    let index = Tensor::from_slice(&device, &[0i32, 2, -1, -1, 0, 1], [3, 2])?;
    let found = x.gather_nd(&index, 0).to_vec::<f32>()?;
    assert!(found[0].is_nan() && found[1..] == [4., 2.], "{found:?}");
    let src = Tensor::from_slice(&device, &[9f32, 8., 7.], [3])?;
    assert_eq!(x.scatter_nd(&index, &src, None).to_vec::<f32>()?, [1., 7., 3., 8.]);
    Ok(())
}

#[test]
#[should_panic(expected = "none longer than the others'")]
fn more_indices_than_sources() {
    let device = Device::cpu();
    let index = Tensor::full(&device, [3], 0u32);
    Tensor::zeros(&device, [4]).scatter(0, &index, &Tensor::zeros(&device, [2]));
}
