//! Known answers of packs: aligned places, and inputs computed where they belong.

use wgrad::ops::pack::{PACK_ALIGN, Pack};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

#[test]
fn places_are_aligned_and_gaps_are_zero() {
    for d in [under_test(), Device::cpu()] {
        let (a, b) = (Tensor::full(&d, 3, 2f32), Tensor::full(&d, [2, 2], 5f32));
        let pack = Pack::of_sizes([3, 4]);
        assert_eq!((pack.offsets.clone(), pack.len), (vec![0, PACK_ALIGN], 2 * PACK_ALIGN));
        let values = Tensor::apply(pack, &[&a, &b]).to_vec::<f32>().unwrap();
        let mut want = vec![0.0; 2 * PACK_ALIGN];
        want[..3].fill(2.0);
        want[PACK_ALIGN..PACK_ALIGN + 4].fill(5.0);
        assert_eq!(values, want, "on {d}");
    }
}

#[test]
fn what_is_computed_for_a_pack_is_computed_in_it() {
    let d = under_test();
    let x = Tensor::from_slice(&d, &[1.0f32; 100], [10, 10]).unwrap();
    let before = d.counters();
    let pack = Tensor::apply(Pack::of_sizes([100, 10]), &[&x.matmul(&x), &x.sum(&[0])]);
    (&pack * 1.0).sum_all().item().unwrap();
    let packed = d.counters().since(&before).dispatches;
    let before = d.counters();
    let (product, sum) = (x.matmul(&x), x.sum(&[0]));
    wgrad::eval(&[&product, &sum]).unwrap();
    (&Tensor::full(&d, 192, 1f32) * 1.0).sum_all().item().unwrap();
    assert_eq!(packed, d.counters().since(&before).dispatches, "copies into the pack");
}
