//! Truth values: NaN, numbers beside tensors of every type, closeness.

use wgrad::{DType, Device, Tensor};

use crate::registry::under_test;

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn truth(t: &Tensor) -> Vec<u32> {
    assert_eq!(t.dtype(), DType::Bool);
    t.to_vec().unwrap()
}

#[test]
fn nan_is_unequal_to_all_and_true() {
    for d in [under_test(), Device::cpu()] {
        let x = Tensor::from_slice(&d, &[NAN, 1.0, 0.0, -0.0, -INF], 5).unwrap();
        assert_eq!(truth(&x.eq(1.0)), [0, 1, 0, 0, 0], "on {d}");
        assert_eq!(truth(&x.ne(1.0)), [1, 0, 1, 1, 1], "on {d}");
        assert_eq!(truth(&x.lt(1.0)), [0, 0, 1, 1, 1], "on {d}");
        assert_eq!(truth(&x.lt(1.0).bitwise_not()), [1, 1, 0, 0, 0], "not less, on {d}");
        assert_eq!(truth(&x.le(0)), [0, 0, 1, 1, 1], "on {d}");
        assert_eq!(truth(&x.gt(-1.0)), [0, 1, 1, 1, 0], "on {d}");
        assert_eq!(truth(&x.ge(0.0)), [0, 1, 1, 1, 0], "on {d}");
        assert_eq!(truth(&x.equal(&x)), [0, 1, 1, 1, 1], "on {d}");
        assert_eq!(truth(&x.less_equal(&x)), [0, 1, 1, 1, 1], "on {d}");
        let y = Tensor::from_slice(&d, &[NAN, NAN, NAN, 0.0, 2.0], 5).unwrap();
        assert_eq!(truth(&x.logical_and(&y)), [1, 1, 0, 0, 1], "on {d}");
        assert_eq!(truth(&x.logical_or(&y)), [1, 1, 1, 0, 1], "on {d}");
        assert_eq!(truth(&x.logical_xor(&y)), [0, 0, 1, 0, 0], "on {d}");
        assert_eq!(truth(&x.logical_not()), [0, 0, 1, 1, 0], "on {d}");
    }
}

#[test]
fn numbers_beside_other_types() {
    let d = Device::cpu();
    let whole = Tensor::from_slice(&d, &[1i32, -2, 3], 3).unwrap();
    assert_eq!(truth(&whole.gt(1.5)), [0, 0, 1]);
    assert_eq!(truth(&whole.eq(-2)), [0, 1, 0]);
    let count = Tensor::from_slice(&d, &[1u32, 2, 3], 3).unwrap();
    assert_eq!(truth(&count.gt(-1)), [1, 1, 1]);
    assert_eq!((&count * 2u32 + 1u32).to_vec::<u32>().unwrap(), [3, 5, 7]);
    assert_eq!((&whole % 2i32).to_vec::<i32>().unwrap(), [1, 0, 1]);
    assert_eq!(truth(&!&count.eq(2u32)), [1, 0, 1]);
    assert_eq!(whole.true_divide(&(&whole * 2i32)).to_vec::<f32>().unwrap(), [0.5; 3]);
}

#[test]
fn close_is_by_the_second_and_infinities_only_to_themselves() {
    for d in [under_test(), Device::cpu()] {
        let t = |v: &[f32]| Tensor::from_slice(&d, v, v.len()).unwrap();
        let a = t(&[1.0, 1.0, INF, INF, INF, NAN, 0.0, 1e30]);
        let b = t(&[1.000001, 1.1, INF, -INF, 1.0, NAN, 1e-9, 1.000001e30]);
        assert_eq!(truth(&a.isclose(&b, 1e-5, 1e-8, false)), [1, 0, 1, 0, 0, 0, 1, 1], "on {d}");
        assert_eq!(truth(&a.isclose(&b, 1e-5, 1e-8, true)), [1, 0, 1, 0, 0, 1, 1, 1], "on {d}");
    }
}

#[test]
fn bits_are_shifted_out_and_signs_kept() {
    for d in [under_test(), Device::cpu()] {
        let (a, b) = ([1i32, -8, 5, -8, 8], [33i32, 1, -1, 33, 1]);
        let (a, b) = (Tensor::from_slice(&d, &a, 5).unwrap(), Tensor::from_slice(&d, &b, 5).unwrap());
        assert_eq!(a.bitwise_left_shift(&b).to_vec::<i32>().unwrap(), [0, -16, 0, 0, 16], "on {d}");
        assert_eq!(a.bitwise_right_shift(&b).to_vec::<i32>().unwrap(), [0, -4, 0, -1, 4], "on {d}");
        assert_eq!((&a ^ &b).bitwise_not().to_vec::<i32>().unwrap()[0], !(1 ^ 33), "on {d}");
    }
}

#[test]
fn what_is_missing_is_filled() {
    for d in [under_test(), Device::cpu()] {
        let x = Tensor::from_slice(&d, &[NAN, INF, -INF, -0.0, 2.0], 5).unwrap();
        assert_eq!(x.nan_to_num_with(7.0, 8.0, -9.0).to_vec::<f32>().unwrap(), [7.0, 8.0, -9.0, 0.0, 2.0], "on {d}");
        assert_eq!(truth(&x.signbit())[2..], [1, 1, 0], "on {d}");
        assert_eq!(x.masked_fill(&x.isnan(), 3.0).to_vec::<f32>().unwrap()[0], 3.0, "on {d}");
        let whole = Tensor::from_slice(&d, &[1u32, 2], 2).unwrap();
        assert_eq!(whole.masked_fill(&whole.eq(2u32), 9u32).to_vec::<u32>().unwrap(), [1, 9], "on {d}");
    }
}
