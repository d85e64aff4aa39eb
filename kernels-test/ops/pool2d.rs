//! Pooling against worked examples and PyTorch's values.

use wgrad::autodiff::grad;
use wgrad::ops::im2col::Padding;
use wgrad::ops::pool2d::Pool2dOptions;
use wgrad::{Device, Result, Tensor};

use crate::registry::under_test;

fn image(device: &Device) -> Result<Tensor> {
    Tensor::from_slice(device, &[1f32, 5., 2., 7., 3., 7., 4., 6., 8.], [1, 1, 3, 3])
}

fn pool(kernel: usize, stride: usize, padding: usize) -> Pool2dOptions {
    Pool2dOptions { stride: [stride; 2], padding: padding.into(), ..Pool2dOptions::new([kernel; 2]) }
}

/// torch.nn.functional.max_pool2d(..., return_indices=True)
#[test]
fn the_largest_pixel_and_where_it_was() -> Result<()> {
    for device in [Device::cpu(), under_test()] {
        let x = image(&device)?;
        let check = |options: Pool2dOptions, values: &[f32], positions: &[u32]| -> Result<()> {
            let (y, at) = x.max_pool2d_with_indices(&options);
            assert_eq!((y.to_vec::<f32>()?, at.to_vec::<u32>()?), (values.to_vec(), positions.to_vec()), "{options:?}");
            Ok(())
        };
        check(pool(2, 1, 0), &[7., 7., 7., 8.], &[3, 5, 3, 8])?;
        check(Pool2dOptions { ceil_mode: true, ..pool(2, 2, 0) }, &[7., 7., 6., 8.], &[3, 5, 7, 8])?;
        check(pool(3, 2, 1), &[7., 7., 7., 8.], &[3, 5, 3, 8])?;
        check(Pool2dOptions { ceil_mode: true, ..pool(2, 2, 1) }, &[1., 5., 7., 8.], &[0, 1, 3, 8])?;
        check(Pool2dOptions { dilation: [2, 2], ..pool(2, 1, 0) }, &[8.], &[8])?;
        check(pool(2, 2, 0), &[7.], &[3])?;
        check(Pool2dOptions { padding: Padding::Same, ..pool(2, 2, 0) }, &[7., 7., 6., 8.], &[3, 5, 7, 8])?;
    }
    Ok(())
}

/// PyTorch: a NaN is larger than any number, and of several in a window the last is named; of equals the first.
#[test]
fn nan_and_ties() -> Result<()> {
    let nan = f32::NAN;
    for device in [Device::cpu(), under_test()] {
        let x = Tensor::from_slice(&device, &[1., nan, 2., 3., 4., 5., nan, nan], [1, 1, 2, 4])?;
        let (y, at) = x.max_pool2d_with_indices(&Pool2dOptions::new([2, 2]));
        assert!(y.to_vec::<f32>()?.iter().all(|v| v.is_nan()));
        assert_eq!(at.to_vec::<u32>()?, [1, 7]);
        let low = f32::NEG_INFINITY;
        let x = Tensor::from_slice(&device, &[3., 3., low, low, 3., 3., low, low], [1, 1, 2, 4])?;
        let (y, at) = x.max_pool2d_with_indices(&Pool2dOptions::new([2, 2]));
        assert_eq!((y.to_vec::<f32>()?, at.to_vec::<u32>()?), (vec![3., low], vec![0, 2]));
    }
    Ok(())
}

/// torch.nn.functional.avg_pool2d
#[test]
fn the_mean_pixel() -> Result<()> {
    for device in [Device::cpu(), under_test()] {
        let x = image(&device)?;
        let check = |options: Pool2dOptions, want: &[f32]| -> Result<()> {
            let got = x.avg_pool2d(&options).to_vec::<f32>()?;
            assert!(got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?}");
            Ok(())
        };
        let inside = |o: Pool2dOptions| Pool2dOptions { count_include_pad: false, ..o };
        let ceil = |o: Pool2dOptions| Pool2dOptions { ceil_mode: true, ..o };
        check(pool(2, 1, 0), &[4., 4.25, 5., 6.])?;
        check(ceil(pool(2, 2, 0)), &[4., 4.5, 5., 8.])?;
        check(pool(3, 2, 1), &[16. / 9., 17. / 9., 20. / 9., 24. / 9.])?;
        check(inside(pool(3, 2, 1)), &[4., 4.25, 5., 6.])?;
        check(ceil(pool(2, 2, 1)), &[0.25, 1.75, 2.75, 6.])?;
    }
    Ok(())
}

#[test]
fn gradients() -> Result<()> {
    for device in [Device::cpu(), under_test()] {
        let x = image(&device)?.into_leaf(true)?;
        let weighed = |y: Tensor, w: [f32; 4]| -> Result<Vec<f32>> {
            let w = Tensor::from_slice(&device, &w, [1, 1, 2, 2])?;
            grad(&(&y * &w).sum_all(), &[&x])[0].to_vec::<f32>()
        };
        let dx = weighed(x.max_pool2d(&pool(2, 1, 0)), [1., 2., 3., 4.])?;
        assert_eq!(dx, [0., 0., 0., 4., 0., 2., 0., 0., 4.]);
        let dx = weighed(x.avg_pool2d(&pool(2, 1, 0)), [4., 8., 12., 16.])?;
        assert_eq!(dx, [1., 3., 2., 4., 10., 6., 3., 7., 4.]);
    }
    Ok(())
}

/// The sum of squares of maxima y: its gradient is 2 y at the largest pixels, and the gradient of the sum of that 2 for
/// each time a pixel was the largest.
#[test]
fn a_gradient_can_be_differentiated_again() -> Result<()> {
    let x = image(&Device::cpu())?.into_leaf(true)?;
    let y = x.max_pool2d(&pool(2, 1, 0));
    let dx = grad(&(&y * &y).sum_all(), &[&x]).swap_remove(0);
    assert_eq!(dx.to_vec::<f32>()?, [0., 0., 0., 28., 0., 14., 0., 0., 16.]);
    assert_eq!(grad(&dx.sum_all(), &[&x])[0].to_vec::<f32>()?, [0., 0., 0., 4., 0., 2., 0., 0., 2.]);
    Ok(())
}

/// PyTorch's number of windows: `(size, kernel, stride, padding)` to rounded down and up.
#[test]
fn windows_are_counted_as_in_pytorch() {
    let device = Device::cpu();
    for (size, kernel, stride, padding, floor, ceil) in [
        (5, 2, 2, 0, 2, 3),
        (6, 3, 2, 1, 3, 4),
        (7, 3, 3, 0, 2, 3),
        (8, 3, 2, 1, 4, 5),
        (3, 2, 2, 1, 2, 2),
        (4, 2, 3, 1, 2, 2),
    ] {
        let x = Tensor::zeros(&device, [1, 1, size, size]);
        let options = pool(kernel, stride, padding);
        assert_eq!(x.max_pool2d(&options).shape()[..], [1, 1, floor, floor]);
        let options = Pool2dOptions { ceil_mode: true, ..options };
        assert_eq!(x.avg_pool2d(&options).shape()[..], [1, 1, ceil, ceil], "{size} {kernel} {stride} {padding}");
        let same = Pool2dOptions { padding: Padding::Same, ceil_mode: false, ..options };
        assert_eq!(x.max_pool2d(&same).shape()[2], size.div_ceil(stride));
    }
}

#[test]
fn a_mistake_says_what_would_fit() {
    let x = Tensor::zeros(&Device::cpu(), [1, 1, 3, 3]);
    let problem = |o: Pool2dOptions| x.try_max_pool2d_with_indices(&o).map(|_| ()).unwrap_err().to_string();
    assert!(problem(pool(4, 1, 0)).starts_with("max_pool2d: a 4x4 window"));
    assert!(problem(pool(2, 1, 2)).contains("at most half of it, [1, 1]"));
    let dilated = Pool2dOptions { dilation: [2, 1], ..pool(2, 1, 0) };
    assert!(x.try_avg_pool2d(&dilated).unwrap_err().to_string().contains("the mean takes only 1"));
}
