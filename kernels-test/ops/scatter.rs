//! Known answers of scatter: PyTorch's.

use wgrad::autodiff::grad;
use wgrad::ops::scatter::{Scatter, ScatterKind};
use wgrad::{Device, Result, Tensor};

fn scatter(kind: ScatterKind, x: &Tensor, index: &Tensor, src: &Tensor) -> Tensor {
    Tensor::apply(Scatter { axis: 0, kind }, &[x, index, src])
}

#[test]
fn the_elements_of_a_place_meet() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[1f32, 2., 3., 4.], [4])?.into_leaf(true)?;
    let src = Tensor::from_slice(&device, &[5f32, 2., 0., 0., 7.], [5])?.into_leaf(true)?;
    let index = Tensor::from_slice(&device, &[0u32, 1, 3, 3, 0], [5])?;
    // torch.scatter_reduce(x, 0, index, src, kind), and the gradients of its sum
    let cases = [
        (ScatterKind::Add, [13., 4., 3., 4.], [1., 1., 1., 1.], [1., 1., 1., 1., 1.]),
        (ScatterKind::Mul, [35., 4., 3., 0.], [35., 2., 1., 0.], [7., 2., 0., 0., 5.]),
        (ScatterKind::Max, [7., 2., 3., 4.], [0., 0.5, 1., 1.], [0., 0.5, 0., 0., 1.]),
        (ScatterKind::Min, [1., 2., 3., 0.], [1., 0.5, 1., 0.], [0., 0.5, 0.5, 0.5, 0.]),
    ];
    for (kind, y, dx, dsrc) in cases {
        let found = scatter(kind, &x, &index, &src);
        assert_eq!(found.to_vec::<f32>()?, y, "{kind:?}");
        let slopes = grad(&found.sum_all(), &[&x, &src]);
        assert_eq!(slopes[0].to_vec::<f32>()?, dx, "{kind:?}");
        assert_eq!(slopes[1].to_vec::<f32>()?, dsrc, "{kind:?}");
    }
    Ok(())
}

#[test]
fn the_same_input_gives_the_same_bits() -> Result<()> {
    for device in [Device::cpu(), crate::registry::under_test()] {
        let values: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.37).sin() * 10f32.powi(i % 7 - 3)).collect();
        let index: Vec<u32> = (0..3000).map(|i| i * 31 % 5).collect();
        let run = || -> Result<Vec<u32>> {
            let src = Tensor::from_slice(&device, &values, [3000])?;
            let index = Tensor::from_slice(&device, &index, [3000])?;
            let y = scatter(ScatterKind::Add, &Tensor::zeros(&device, [5]), &index, &src);
            Ok(y.to_vec::<f32>()?.into_iter().map(f32::to_bits).collect())
        };
        assert_eq!(run()?, run()?);
    }
    Ok(())
}

#[test]
#[should_panic(expected = "their shapes must be equal")]
fn sources_without_an_index() {
    let device = Device::cpu();
    let index = Tensor::full(&device, [2], 0u32);
    scatter(ScatterKind::Add, &Tensor::zeros(&device, [4]), &index, &Tensor::zeros(&device, [3]));
}
