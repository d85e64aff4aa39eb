//! Windows and their patches against PyTorch's `unfold`, and TensorFlow's rule for SAME padding.

use wgrad::autodiff::grad;
use wgrad::ops::im2col::{Padding, Window};
use wgrad::{Device, Result, Tensor};

const PLAIN: Window = Window { kernel: [2, 2], stride: [1, 1], padding: [0; 4], dilation: [1, 1] };

fn counting(shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = (1..=shape.iter().product()).map(|i: usize| i as f32).collect();
    Tensor::from_slice(&Device::cpu(), &values, shape)
}

/// torch.nn.functional.unfold(torch.arange(1., 10.).view(1, 1, 3, 3), 2)
#[test]
fn patches_are_columns() -> Result<()> {
    let cols = counting(&[1, 1, 3, 3])?.im2col(&PLAIN);
    assert_eq!(cols.shape()[..], [1, 4, 4]);
    assert_eq!(cols.to_vec::<f32>()?, [1., 2., 4., 5., 2., 3., 5., 6., 4., 5., 7., 8., 5., 6., 8., 9.]);
    let padded = counting(&[1, 1, 1, 2])?.im2col(&Window { padding: [1, 0, 0, 1], ..PLAIN });
    assert_eq!(padded.to_vec::<f32>()?, [0., 0., 0., 0., 1., 2., 2., 0.]);
    Ok(())
}

/// The gradient of taking patches is putting them back: each pixel counts once per window that covers it.
#[test]
fn the_gradient_counts_windows() -> Result<()> {
    let x = counting(&[1, 1, 3, 3])?.into_leaf(true)?;
    let grads = grad(&x.im2col(&PLAIN).sum_all(), &[&x]);
    assert_eq!(grads[0].to_vec::<f32>()?, [1., 2., 1., 2., 4., 2., 1., 2., 1.]);
    Ok(())
}

#[test]
fn same_padding_gives_ceil_of_size_over_stride() {
    for size in 1..20 {
        for (kernel, stride, dilation) in (1..6).flat_map(|k| (1..5).flat_map(move |s| (1..4).map(move |d| (k, s, d))))
        {
            let (kernel, stride, dilation) = ([kernel; 2], [stride; 2], [dilation; 2]);
            let padding = Padding::Same.resolve([size, size + 3], kernel, stride, dilation);
            let windows = Window { kernel, stride, padding, dilation }.output([size, size + 3]).expect("it fits");
            let want = [size.div_ceil(stride[0]), (size + 3).div_ceil(stride[1])];
            assert_eq!(windows, want, "size {size}, kernel {kernel:?}, stride {stride:?}, dilation {dilation:?}");
            assert!(padding[1] - padding[0] <= 1 && padding[3] - padding[2] <= 1, "the odd row goes to the end");
        }
    }
    // TensorFlow's documentation of tf.nn: with size 13, filter 6, stride 5, SAME pads 1 before and 2 after.
    assert_eq!(Padding::Same.resolve([1, 13], [1, 6], [1, 5], [1, 1]), [0, 0, 1, 2]);
}

#[test]
#[should_panic(expected = "spans 7x2 pixels, and the 3x4 input is 3x4 with its padding")]
fn a_mistake_says_what_is_too_large() {
    let x = Tensor::zeros(&Device::cpu(), [1, 1, 3, 4]);
    x.im2col(&Window { kernel: [4, 2], dilation: [2, 1], ..PLAIN });
}
