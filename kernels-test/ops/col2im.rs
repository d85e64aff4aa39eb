//! Patches put back, against PyTorch's `fold`.

use wgrad::ops::im2col::Window;
use wgrad::{Device, Result, Tensor};

const WINDOW: Window = Window { kernel: [2, 2], stride: [1, 1], padding: [0; 4], dilation: [1, 1] };

/// fold(unfold(torch.arange(1., 10.).view(1, 1, 3, 3), 2), (3, 3), 2)
#[test]
fn overlaps_are_summed() -> Result<()> {
    let x = Tensor::from_slice(&Device::cpu(), &[1f32, 2., 3., 4., 5., 6., 7., 8., 9.], [1, 1, 3, 3])?;
    let back = x.im2col(&WINDOW).col2im(&WINDOW, [3, 3]);
    assert_eq!(back.shape()[..], [1, 1, 3, 3]);
    assert_eq!(back.to_vec::<f32>()?, [1., 4., 3., 8., 20., 12., 7., 16., 9.]);
    Ok(())
}

/// <cols, im2col(x)> = <col2im(cols), x>: one is the transpose of the other.
#[test]
fn it_is_the_transpose_of_im2col() -> Result<()> {
    let device = Device::reference();
    let window = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 2, 0, 1], dilation: [1, 2] };
    let number = |i: usize| ((i * 37 + 11) % 23) as f32 - 11.0;
    let x = Tensor::from_slice(&device, &(0..2 * 3 * 7 * 6).map(number).collect::<Vec<_>>(), [2, 3, 7, 6])?;
    let taken = x.im2col(&window);
    let cols = Tensor::from_slice(&device, &(0..taken.elements()).map(number).collect::<Vec<_>>(), taken.shape())?;
    let put = cols.col2im(&window, [7, 6]);
    assert_eq!((&cols * &taken).sum_all().item()?, (&put * &x).sum_all().item()?);
    Ok(())
}
