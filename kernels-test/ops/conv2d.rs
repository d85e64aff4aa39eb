//! Convolution against worked examples, PyTorch's values and LeNet's published sizes.

mod variants;

use wgrad::autodiff::grad;
use wgrad::ops::conv2d::Conv2dOptions;
use wgrad::ops::im2col::Padding;
use wgrad::{Device, Result, Tensor};

use crate::registry::under_test;

fn counting(device: &Device, shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = (1..=shape.iter().product()).map(|i: usize| i as f32).collect();
    Tensor::from_slice(device, &values, shape)
}

fn options(stride: usize, padding: impl Into<Padding>, dilation: usize, groups: usize) -> Conv2dOptions {
    Conv2dOptions { stride: [stride; 2], padding: padding.into(), dilation: [dilation; 2], groups }
}

/// torch.nn.functional.conv2d of 1..16 as a 4x4 image with [[1, 2], [3, 4]].
#[test]
fn a_four_by_four_image() -> Result<()> {
    for device in [Device::cpu(), under_test()] {
        let (x, w) = (counting(&device, &[1, 1, 4, 4])?, counting(&device, &[1, 1, 2, 2])?);
        let conv = |o: Conv2dOptions| x.conv2d(&w, None, &o).to_vec::<f32>();
        assert_eq!(conv(Conv2dOptions::default())?, [44., 54., 64., 84., 94., 104., 124., 134., 144.]);
        assert_eq!(conv(options(2, 1, 1, 1))?, [4., 18., 12., 46., 94., 44., 26., 44., 16.]);
        assert_eq!(conv(options(1, 0, 2, 1))?, [78., 88., 118., 128.]);
        // An even kernel: the odd row and column of SAME stand at the end.
        let same = [44., 54., 64., 28., 84., 94., 104., 44., 124., 134., 144., 60., 41., 44., 47., 16.];
        assert_eq!(conv(options(1, Padding::Same, 1, 1))?, same);
        let ones = Tensor::ones(&device, [1, 1, 3, 3]);
        let sums = x.conv2d(&ones, None, &options(1, Padding::Same, 1, 1)).to_vec::<f32>()?;
        assert_eq!(sums, [14., 24., 30., 22., 33., 54., 63., 45., 57., 90., 99., 69., 46., 72., 78., 54.]);
    }
    Ok(())
}

#[test]
fn groups_see_their_own_channels() -> Result<()> {
    let device = Device::cpu();
    let (x, w) = (counting(&device, &[1, 2, 2, 2])?, counting(&device, &[2, 1, 1, 2])?);
    assert_eq!(x.conv2d(&w, None, &options(1, 0, 1, 2)).to_vec::<f32>()?, [5., 11., 39., 53.]);
    Ok(())
}

#[test]
fn the_bias_is_added_per_channel() -> Result<()> {
    let device = Device::cpu();
    let (x, w) = (counting(&device, &[2, 1, 1, 2])?, Tensor::ones(&device, [3, 1, 1, 1]));
    let bias = Tensor::from_slice(&device, &[10f32, 20., 30.], [3])?.into_leaf(true)?;
    let y = x.conv2d(&w, Some(&bias), &Conv2dOptions::default());
    assert_eq!(y.to_vec::<f32>()?, [11., 12., 21., 22., 31., 32., 13., 14., 23., 24., 33., 34.]);
    assert_eq!(grad(&y.sum_all(), &[&bias])[0].to_vec::<f32>()?, [4., 4., 4.]);
    Ok(())
}

/// PyTorch's gradients of the 4x4 image at stride 2, cotangent [[1, 2], [3, 4]].
#[test]
fn gradients() -> Result<()> {
    for device in [Device::cpu(), under_test()] {
        let x = counting(&device, &[1, 1, 4, 4])?.into_leaf(true)?;
        let w = counting(&device, &[1, 1, 2, 2])?.into_leaf(true)?;
        let y = x.conv2d(&w, None, &options(2, 0, 1, 1));
        let grads = grad(&(&y * &counting(&device, &[1, 1, 2, 2])?).sum_all(), &[&x, &w]);
        let dx = [1., 2., 2., 4., 3., 4., 6., 8., 3., 6., 4., 8., 9., 12., 12., 16.];
        assert_eq!(grads[0].to_vec::<f32>()?, dx);
        assert_eq!(grads[1].to_vec::<f32>()?, [78., 88., 118., 128.]);
    }
    Ok(())
}

/// y is linear in the weight and in the image, so the gradient of |dy/dx|^2 by the weight is known: for one tap w over
/// n pixels, y = w x, dy/dx = w, and the gradient of n w^2 is 2 n w.
#[test]
fn a_gradient_can_be_differentiated_again() -> Result<()> {
    let device = Device::cpu();
    let x = counting(&device, &[1, 1, 2, 3])?.into_leaf(true)?;
    let w = Tensor::full(&device, [1, 1, 1, 1], 5f32).into_leaf(true)?;
    let dx = grad(&x.conv2d(&w, None, &Conv2dOptions::default()).sum_all(), &[&x]).swap_remove(0);
    assert_eq!(grad(&(&dx * &dx).sum_all(), &[&w])[0].to_vec::<f32>()?, [60.]);
    Ok(())
}

/// LeNet-5 (LeCun et al. 1998): C1 28x28x6, S2 14x14, C3 10x10x16, S4 5x5, C5 120 maps of 1x1, 48,000 weights from S4.
#[test]
fn lenet_has_its_published_sizes() -> Result<()> {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let plain = Conv2dOptions::default();
    let c1 = zeros(&[2, 1, 32, 32]).conv2d(&zeros(&[6, 1, 5, 5]), None, &plain);
    assert_eq!(c1.shape()[..], [2, 6, 28, 28]);
    let c3 = zeros(&[2, 6, 14, 14]).conv2d(&zeros(&[16, 6, 5, 5]), None, &plain);
    assert_eq!(c3.shape()[..], [2, 16, 10, 10]);
    let c5_weight = zeros(&[120, 16, 5, 5]);
    assert_eq!(c5_weight.elements(), 48_000);
    assert_eq!(zeros(&[2, 16, 5, 5]).conv2d(&c5_weight, None, &plain).shape()[..], [2, 120, 1, 1]);
    Ok(())
}

/// Columns of more than 64 MiB are made piece by piece: several images, and one image larger than that.
#[test]
fn large_images_are_convolved_in_pieces() -> Result<()> {
    let cases: [([usize; 4], [usize; 4]); 2] = [([30, 16, 64, 64], [4, 16, 3, 3]), ([1, 8, 512, 500], [2, 8, 3, 3])];
    for (x_shape, w_shape) in cases {
        let run = |device: &Device| -> Result<Vec<Vec<f32>>> {
            let number = |i: usize| ((i * 7 + 3) % 13) as f32 - 6.0;
            let fill = |shape: &[usize]| {
                let values: Vec<f32> = (0..shape.iter().product()).map(number).collect();
                Tensor::from_slice(device, &values, shape)
            };
            let (x, w) = (fill(&x_shape)?.into_leaf(true)?, fill(&w_shape)?.into_leaf(true)?);
            let y = x.conv2d(&w, None, &options(1, 1, 1, 1));
            let dy = fill(y.shape())?;
            let grads = grad(&(&y * &dy).sum_all(), &[&x, &w]);
            [&y, &grads[0], &grads[1]].iter().map(|t| t.to_vec::<f32>()).collect()
        };
        let (gpu, cpu) = (run(&under_test())?, run(&Device::reference())?);
        for (name, (gpu, cpu)) in ["y", "dx", "dw"].iter().zip(gpu.iter().zip(&cpu)) {
            let largest = cpu.iter().fold(0f32, |m, v| m.max(v.abs()));
            let worst = gpu.iter().zip(cpu).map(|(g, c)| (g - c).abs()).fold(0f32, f32::max);
            assert!(worst <= 1e-5 * largest, "{name} of {x_shape:?}: off by {worst}, largest {largest}");
        }
    }
    Ok(())
}

#[test]
fn a_mistake_names_both_shapes_and_what_would_fit() {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let problem =
        |x: &[usize], w: &[usize], o: Conv2dOptions| zeros(x).try_conv2d(&zeros(w), None, &o).unwrap_err().to_string();
    let plain = Conv2dOptions::default();
    assert_eq!(
        problem(&[1, 3, 8, 8], &[4, 2, 3, 3], plain),
        "conv2d: input [1, 3, 8, 8] has 3 channels, and weight [4, 2, 3, 3] with 1 groups takes 2; axis 1 of the weight \
         must be 3"
    );
    assert!(problem(&[1, 3, 2, 2], &[4, 3, 3, 3], plain).contains("make the kernel smaller or the padding larger"));
    assert!(problem(&[1, 3, 8, 8], &[4, 1, 3, 3], options(1, 0, 1, 2)).contains("must divide both"));
    assert!(problem(&[1, 3, 8, 8], &[4, 3, 3, 3], options(0, 0, 1, 1)).contains("at least 1"));
    assert!(problem(&[3, 8, 8], &[4, 3, 3, 3], plain).contains("[images, channels, height, width]"));
    let bias = zeros(&[3]);
    let fault = zeros(&[1, 3, 8, 8]).try_conv2d(&zeros(&[4, 3, 3, 3]), Some(&bias), &plain).unwrap_err();
    assert!(fault.to_string().contains("it must be [4]"), "{fault}");
}
