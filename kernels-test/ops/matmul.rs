//! Matrix products against worked examples and PyTorch's rules for ranks and broadcasting.

mod variants;

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

use crate::registry::under_test;

fn tensor(device: &Device, values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(device, values, shape)
}

fn counting(device: &Device, shape: &[usize]) -> Result<Tensor> {
    tensor(device, &(0..shape.iter().product()).map(|i: usize| i as f32).collect::<Vec<_>>(), shape)
}

#[test]
fn rows_times_columns() -> Result<()> {
    for device in [Device::cpu(), under_test()] {
        let a = tensor(&device, &[1., 2., 3., 4., 5., 6.], &[2, 3])?;
        let b = tensor(&device, &[7., 8., 9., 10., 11., 12.], &[3, 2])?;
        let c = a.matmul(&b);
        assert_eq!(c.shape()[..], [2, 2]);
        assert_eq!(c.to_vec::<f32>()?, [58., 64., 139., 154.]);
    }
    Ok(())
}

/// torch.matmul of 1-D and stacked operands, values from PyTorch 2.
#[test]
fn ranks_follow_pytorch() -> Result<()> {
    let device = Device::cpu();
    let a = counting(&device, &[2, 3])?;
    let (row, column) = (tensor(&device, &[1., 2.], &[2])?, tensor(&device, &[1., 2., 3.], &[3])?);
    let product = a.matmul(&column);
    assert_eq!((&product.shape()[..], product.to_vec::<f32>()?), (&[2][..], vec![8., 26.]));
    let product = row.matmul(&a);
    assert_eq!((&product.shape()[..], product.to_vec::<f32>()?), (&[3][..], vec![6., 9., 12.]));
    let dot = column.matmul(&column);
    assert_eq!((dot.rank(), dot.item()?), (0, 14.));

    let stack = counting(&device, &[2, 1, 2, 2])?;
    let product = stack.matmul(&counting(&device, &[3, 2, 2])?);
    assert_eq!(product.shape()[..], [2, 3, 2, 2]);
    let want = [
        2., 3., 6., 11., 6., 7., 26., 31., 10., 11., 46., 51., 10., 19., 14., 27., 46., 55., 66., 79., 82., 91., 118.,
        131.,
    ];
    assert_eq!(product.to_vec::<f32>()?, want);
    assert_eq!(counting(&device, &[4, 5, 2, 3])?.matmul(&column).shape()[..], [4, 5, 2]);
    assert_eq!(row.matmul(&counting(&device, &[7, 2, 3])?).shape()[..], [7, 3]);
    assert_eq!(counting(&device, &[5, 0, 3])?.matmul(&counting(&device, &[3, 4])?).shape()[..], [5, 0, 4]);
    Ok(())
}

/// C = A B: dA = dC B^T, dB = A^T dC, summed over a batch that was broadcast.
#[test]
fn gradients_by_hand() -> Result<()> {
    let device = Device::cpu();
    let a = tensor(&device, &[1., 2., 3., 4.], &[2, 2])?.into_leaf(true)?;
    let b = tensor(&device, &[5., 6., 7., 8.], &[2, 2])?.into_leaf(true)?;
    let weight = tensor(&device, &[1., 0., 0., 2.], &[2, 2])?;
    let grads = grad(&(&a.matmul(&b) * &weight).sum_all(), &[&a, &b]);
    assert_eq!(grads[0].to_vec::<f32>()?, [5., 7., 12., 16.]);
    assert_eq!(grads[1].to_vec::<f32>()?, [1., 6., 2., 8.]);

    let stack = counting(&device, &[3, 1, 2])?.into_leaf(true)?;
    let grads = grad(&stack.matmul(&b).sum_all(), &[&stack, &b]);
    assert_eq!(grads[0].to_vec::<f32>()?, [11., 15., 11., 15., 11., 15.]);
    assert_eq!(grads[1].to_vec::<f32>()?, [6., 6., 9., 9.]);
    let matrix = counting(&device, &[1, 2])?.into_leaf(true)?;
    let pair = counting(&device, &[3, 2, 1])?;
    let grads = grad(&matrix.matmul(&pair).sum_all(), &[&matrix]);
    assert_eq!(grads[0].to_vec::<f32>()?, [6., 9.]);
    Ok(())
}

/// Operands are read where they lie; on the GPU that is the kernel's strides. The sums are of whole numbers, so exact.
#[test]
fn views_need_no_copy() -> Result<()> {
    let run = |device: &Device| -> Result<Vec<Vec<f32>>> {
        let x = counting(device, &[2, 3, 4, 5])?;
        let y = counting(device, &[4, 5])?;
        let products = [
            x.matmul(&y.transpose(0, 1)),
            x.flip(3).matmul(&y.flip(0).transpose(0, 1)),
            x.permute(&[1, 0, 2, 3]).matmul(&y.transpose(0, 1).broadcast_to([3, 2, 5, 4])),
            x.permute(&[3, 1, 0, 2]).matmul(&x.permute(&[3, 1, 2, 0])),
            x.slice(&[0, 2, 1, 0], &[2, 2, 3, 3], &[1, -2, 1, 2]).matmul(&y.slice(&[3, 1], &[3, 2], &[-1, 3])),
            x.narrow(1, 1, 1).matmul(&y.narrow(0, 1, 2).transpose(0, 1).broadcast_to([2, 1, 5, 2])),
            x.permute(&[2, 0, 1, 3]).unsqueeze(0).matmul(&y.transpose(0, 1).broadcast_to([2, 4, 1, 1, 5, 4])),
        ];
        products.iter().map(|p| p.to_vec::<f32>()).collect()
    };
    assert_eq!(run(&under_test())?, run(&Device::reference())?);
    assert_eq!(run(&Device::cpu())?, run(&Device::reference())?);
    Ok(())
}

#[test]
fn many_small_matrices_fold_over_the_grid() -> Result<()> {
    let device = under_test();
    let (a, b) = (counting(&device, &[70_000, 1, 2])?, tensor(&device, &[1., 1.], &[1, 2, 1])?);
    let c = a.matmul(&b.broadcast_to([70_000, 2, 1])).to_vec::<f32>()?;
    assert!(c.iter().enumerate().all(|(i, &v)| v == (4 * i + 1) as f32));
    Ok(())
}

#[test]
fn a_mistake_names_both_shapes_and_what_would_fit() -> Result<()> {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let problem = |a: &[usize], b: &[usize]| zeros(a).try_matmul(&zeros(b)).unwrap_err().to_string();
    assert_eq!(
        problem(&[2, 3], &[4, 5]),
        "matmul: [2, 3] x [4, 5]: the left operand has 3 columns and the right 4 rows; they must be equal"
    );
    assert!(problem(&[2, 2, 3], &[5, 3, 2]).contains("leading axes must be equal, or 1 in one of them"));
    assert!(problem(&[], &[2]).contains("at least one axis"));
    Ok(())
}
