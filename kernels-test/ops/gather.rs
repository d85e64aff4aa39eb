//! Known answers of indexing: PyTorch's.

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

use crate::registry::under_test;

fn devices() -> [Device; 3] {
    [Device::cpu(), Device::reference(), under_test()]
}

#[test]
fn gather_takes_a_shorter_index_and_its_gradient_adds_up() -> Result<()> {
    for device in devices() {
        let x = Tensor::from_slice(&device, &[1f32, 2., 3., 4., 5., 6.], [2, 3])?.into_leaf(true)?;
        let index = Tensor::from_slice(&device, &[2u32, 0, 2, 2], [1, 4])?;
        let y = x.gather(1, &index);
        assert_eq!(y.to_vec::<f32>()?, [3., 1., 3., 3.]);
        assert_eq!(grad(&y.sum_all(), &[&x])[0].to_vec::<f32>()?, [1., 0., 3., 0., 0., 0.]);
        let index = Tensor::from_slice(&device, &[1i32, -2, 0], [1, 3])?;
        assert_eq!(x.gather(0, &index).to_vec::<f32>()?, [4., 2., 3.]);
    }
    Ok(())
}

#[test]
fn an_index_of_nothing_reads_nothing() -> Result<()> {
    for device in devices() {
        let x = Tensor::from_slice(&device, &[1f32, 2., 3.], [3])?.into_leaf(true)?;
        let index = Tensor::from_slice(&device, &[0u32, 3, u32::MAX, 2], [4])?;
        let y = x.gather(0, &index);
        let found = y.to_vec::<f32>()?;
        assert!(found[0] == 1. && found[1].is_nan() && found[2].is_nan() && found[3] == 3., "{found:?}");
        assert_eq!(grad(&y.sum_all(), &[&x])[0].to_vec::<f32>()?, [1., 0., 1.]);
        let whole = Tensor::from_slice(&device, &[7u32, 8], [2])?;
        assert_eq!(whole.gather(0, &index).to_vec::<u32>()?, [7, 0, 0, 0]);
    }
    Ok(())
}

#[test]
fn slices_by_a_list_of_any_shape() -> Result<()> {
    for device in devices() {
        let x = Tensor::from_slice(&device, &(0..12).map(|i| i as f32).collect::<Vec<_>>(), [2, 3, 2])?;
        let index = Tensor::from_slice(&device, &[2u32, 0], [2])?;
        // torch.index_select(x, 1, index)
        assert_eq!(x.index_select(1, &index).to_vec::<f32>()?, [4., 5., 0., 1., 10., 11., 6., 7.]);
        // onnx Gather with a 2-D index, and with one of rank 0
        let table = Tensor::from_slice(&device, &[2i32, -1, 1, 0, 0, 0], [2, 3])?;
        assert_eq!(x.index_select(-2, &table).shape()[..], [2, 2, 3, 2]);
        let one = x.index_select(1, &Tensor::scalar(&device, 1u32));
        assert_eq!((&one.shape()[..], one.to_vec::<f32>()?), (&[2, 2][..], vec![2., 3., 8., 9.]));
    }
    Ok(())
}

#[test]
fn an_embedding_and_its_padding() -> Result<()> {
    for device in devices() {
        let table = Tensor::from_slice(&device, &[1f32, 2., 3., 4., 5., 6.], [3, 2])?.into_leaf(true)?;
        let index = Tensor::from_slice(&device, &[2u32, 1, 2, 0], [2, 2])?;
        let rows = table.embedding(&index, Some(1));
        assert_eq!(rows.to_vec::<f32>()?, [5., 6., 3., 4., 5., 6., 1., 2.]);
        let scale = Tensor::from_slice(&device, &(1..9).map(|i| i as f32).collect::<Vec<_>>(), [2, 2, 2])?;
        // torch.nn.functional.embedding(index, table, padding_idx=1)
        let slope = grad(&(&rows * &scale).sum_all(), &[&table]);
        assert_eq!(slope[0].to_vec::<f32>()?, [7., 8., 0., 0., 6., 8.]);
    }
    Ok(())
}

/// Ten thousand tokens of ten thousand words: one sort and one sum per word, the same bits each time.
#[test]
fn the_gradient_of_a_large_embedding() -> Result<()> {
    let (words, tokens) = (10_000usize, 10_000usize);
    // Half of the tokens are one word, as padding is.
    let index: Vec<u32> = (0..tokens as u32).map(|t| if t % 2 == 0 { 7 } else { t * 7919 % words as u32 }).collect();
    let mut count = vec![0f32; words];
    index.iter().for_each(|&w| count[w as usize] += 1.);
    for device in devices() {
        let table = Tensor::zeros(&device, [words, 2]).into_leaf(true)?;
        let index = Tensor::from_slice(&device, &index, [tokens])?;
        let slope = &grad(&table.embedding(&index, None).sum_all(), &[&table])[0];
        let found = slope.to_vec::<f32>()?;
        assert!(found.iter().enumerate().all(|(i, &g)| g == count[i / 2]));
    }
    Ok(())
}

#[test]
#[should_panic(expected = "axes other than 0 must be equal")]
fn an_index_that_is_too_wide() {
    let device = Device::cpu();
    Tensor::zeros(&device, [2, 3]).gather(0, &Tensor::full(&device, [1, 4], 0u32));
}

#[test]
#[should_panic(expected = "indices are u32 or i32, not f32")]
fn an_index_of_floats() {
    let device = Device::cpu();
    Tensor::zeros(&device, [2]).gather(0, &Tensor::zeros(&device, [1]));
}
