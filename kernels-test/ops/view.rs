//! Known answers of views, and that they share memory with what they look at.

use wgrad::autodiff::grad;
use wgrad::{Device, Tensor};

use crate::registry::under_test;

fn count_up(device: &Device, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_slice(device, &(0..n).map(|i| i as f32).collect::<Vec<_>>(), shape).unwrap()
}

#[test]
fn views_name_the_elements_numpy_does() {
    for d in [under_test(), Device::cpu(), Device::reference()] {
        let x = count_up(&d, &[2, 3]);
        let values = |t: Tensor| t.to_vec::<f32>().unwrap();
        assert_eq!(values(x.transpose(0, 1)), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0], "on {d}");
        assert_eq!(values(x.flip(1)), [2.0, 1.0, 0.0, 5.0, 4.0, 3.0], "on {d}");
        assert_eq!(values(x.narrow(1, 1, 2)), [1.0, 2.0, 4.0, 5.0], "on {d}");
        assert_eq!(values(x.slice(&[0, 2], &[2, 2], &[1, -2])), [2.0, 0.0, 5.0, 3.0], "on {d}");
        assert_eq!(values(x.transpose(0, 1).reshape([2, 3])), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0], "on {d}");
        assert_eq!(values(x.narrow(0, 1, 1).broadcast_to([2, 3])), [3.0, 4.0, 5.0, 3.0, 4.0, 5.0], "on {d}");
        assert_eq!(values(x.unsqueeze(1).squeeze(1)), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "on {d}");
    }
}

#[test]
fn the_gradient_of_a_slice_is_zero_elsewhere() {
    for d in [under_test(), Device::cpu()] {
        let x = count_up(&d, &[2, 3]);
        let y = &x.slice(&[0, 2], &[2, 2], &[1, -2]) * &count_up(&d, &[2, 2]);
        let dx = grad(&y.sum_all(), &[&x]).swap_remove(0);
        assert_eq!(dx.to_vec::<f32>().unwrap(), [1.0, 0.0, 0.0, 3.0, 0.0, 2.0], "on {d}");
    }
}

#[test]
fn a_held_contiguous_view_takes_no_memory_and_no_kernel() {
    let d = under_test();
    let x = count_up(&d, &[4, 64]);
    let before = d.counters();
    assert_eq!(x.narrow(0, 2, 2).to_vec::<f32>().unwrap()[0], 128.0);
    let after = d.counters().since(&before);
    assert_eq!((after.dispatches, after.buffers), (0, 0));
}

#[test]
#[should_panic(expected = "[2, 3] holds 6 elements and [4] holds 4")]
fn a_reshape_must_keep_the_count() {
    count_up(&Device::cpu(), &[2, 3]).reshape([4]);
}

#[test]
#[should_panic(expected = "stay inside")]
fn a_slice_must_stay_inside() {
    count_up(&Device::cpu(), &[2, 3]).narrow(1, 2, 2);
}
