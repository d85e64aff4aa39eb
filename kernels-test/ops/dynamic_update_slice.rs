//! Slices written over: `jax.lax.dynamic_update_slice` where they fit, nothing where they do not, and in place where
//! they may be.

use wgrad::autodiff::grad;
use wgrad::nn::{Buffer, settle};
use wgrad::{Device, Result, Tensor};

use crate::merge;
use crate::registry::under_test;

fn devices() -> [Device; 4] {
    [Device::cpu(), Device::reference(), under_test(), merge::device(true, false)]
}

fn start(device: &Device, at: u32) -> Tensor {
    Tensor::scalar(device, at)
}

/// `jax.lax.dynamic_update_slice(jnp.arange(12.).reshape(3, 4), -jnp.ones((3, 2)), (0, 1))`, and along the other axis.
#[test]
fn a_slice_lies_where_the_device_says() -> Result<()> {
    for d in devices() {
        let x = Tensor::iota(&d, 12, 0f32, 1f32).reshape([3, 4]);
        let columns = x.dynamic_update_slice(1, &Tensor::full(&d, [3, 2], -1f32), &start(&d, 1));
        assert_eq!(columns.to_vec::<f32>()?, [0., -1., -1., 3., 4., -1., -1., 7., 8., -1., -1., 11.]);
        // A place that is computed.
        let row = Tensor::from_slice(&d, &[20f32, 21., 22., 23.], [1, 4])?;
        let at = Tensor::from_slice(&d, &[1u32, 2], 2)?.sum(&[0]);
        let last = x.dynamic_update_slice(-2, &row, &(&at - &start(&d, 1)));
        assert_eq!(last.to_vec::<f32>()?[8..], [20., 21., 22., 23.]);
        assert_eq!(last.to_vec::<f32>()?[..8], x.to_vec::<f32>()?[..8]);
    }
    Ok(())
}

#[test]
fn what_would_lie_outside_is_left_out() -> Result<()> {
    for d in devices() {
        let (x, src) = (Tensor::zeros(&d, [4]), Tensor::from_slice(&d, &[1f32, 2., 3.], 3)?);
        for (at, want) in [(2, [0., 0., 1., 2.]), (3, [0., 0., 0., 1.]), (4, [0.; 4]), (u32::MAX, [0.; 4])] {
            assert_eq!(x.dynamic_update_slice(0, &src, &start(&d, at)).to_vec::<f32>()?, want, "{at} on {d}");
        }
    }
    Ok(())
}

/// What is written over has no part in the result, and what lies outside of it none either.
#[test]
fn gradients_flow_from_where_the_elements_lie() -> Result<()> {
    for d in devices() {
        let (x, src) = (Tensor::zeros(&d, [4]).into_leaf(true)?, Tensor::ones(&d, [2]).into_leaf(true)?);
        let w = Tensor::from_slice(&d, &[1f32, 2., 3., 4.], 4)?;
        for (at, of_x, of_src) in
            [(1, [1., 0., 0., 4.], [2., 3.]), (3, [1., 2., 3., 0.], [4., 0.]), (u32::MAX, [1., 2., 3., 4.], [0., 0.])]
        {
            let y = x.dynamic_update_slice(0, &src, &start(&d, at));
            let slopes = grad(&(&y * &w).sum_all(), &[&x, &src]);
            assert_eq!((slopes[0].to_vec::<f32>()?, slopes[1].to_vec::<f32>()?), (of_x.to_vec(), of_src.to_vec()));
        }
    }
    Ok(())
}

struct Ring {
    kept: Buffer,
}
wgrad::parameters!(Ring { kept });

/// A ring of a million numbers that takes four in each step: it is neither copied nor made anew. (That the CPU path
/// takes no memory for it is counted in `allocations.rs`.)
#[test]
fn a_buffer_is_written_over_in_place() -> Result<()> {
    const N: usize = 1 << 20;
    for d in [Device::cpu(), Device::reference(), under_test(), merge::device(true, false)] {
        let ring = Ring { kept: Buffer::new(Tensor::zeros(&d, [N]))? };
        let step = |k: u32| {
            let src = &Tensor::scalar(&d, k as f32).broadcast_to([4]) + &Tensor::iota(&d, 4, 0f32, 0.25f32);
            ring.kept.record(&ring.kept.get().dynamic_update_slice(0, &src, &start(&d, 4 * k)));
            settle(&ring)
        };
        (0..3).try_for_each(step)?;
        let before = d.counters();
        (3..9).try_for_each(step)?;
        let made = d.counters().since(&before);
        if d.as_gpu().is_some() {
            // What is written binds the ring; a copy would bind it twice more.
            let most = 6 * (4 * N as u64 + 4096);
            assert!(made.bytes_bound < most && made.buffers == 0, "{made:?} on {d}");
        }
        let numbers = ring.kept.get().to_vec::<f32>()?;
        let want = |i: usize| if i < 36 { (i / 4) as f32 + (i % 4) as f32 / 4.0 } else { 0.0 };
        assert!((0..N).all(|i| numbers[i] == want(i)), "{d}");
    }
    Ok(())
}

/// Whoever holds the value before keeps it.
#[test]
fn a_value_that_is_held_is_not_written_over() -> Result<()> {
    for d in devices() {
        let ring = Ring { kept: Buffer::new(Tensor::zeros(&d, [4]))? };
        let held = ring.kept.get();
        ring.kept.record(&held.dynamic_update_slice(0, &Tensor::ones(&d, [2]), &start(&d, 1)));
        settle(&ring)?;
        assert_eq!(
            (held.to_vec::<f32>()?, ring.kept.get().to_vec::<f32>()?),
            (vec![0.; 4], vec![0., 1., 1., 0.]),
            "{d}"
        );
    }
    Ok(())
}

#[test]
#[should_panic(expected = "f32 [2, 3] into f32 [4, 2] along axis 0; type and all other axes must be equal")]
fn the_other_axes_are_equal() {
    let d = Device::cpu();
    Tensor::zeros(&d, [4, 2]).dynamic_update_slice(0, &Tensor::zeros(&d, [2, 3]), &start(&d, 1));
}
