//! Four ways to pad against PyTorch's answers (`fixtures/shape.py` made them).

use serde_json::Value;
use wgrad::autodiff::grad;
use wgrad::functional::PadMode;
use wgrad::{Device, Tensor};

use super::shape::{count_up, extents, fault};
use crate::registry::under_test;

#[test]
fn every_mode_is_pytorchs() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/shape.json")).unwrap();
    let mut faults = Vec::new();
    for device in [under_test(), Device::cpu()] {
        for case in fixture["pads"].as_array().unwrap() {
            let mode = match case["mode"].as_str().unwrap() {
                "constant" => PadMode::Constant(9.0),
                "reflect" => PadMode::Reflect,
                "replicate" => PadMode::Replicate,
                "circular" => PadMode::Circular,
                other => panic!("no mode {other}"),
            };
            let padding: Vec<isize> =
                case["padding"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap() as isize).collect();
            let y = count_up(&device, &extents(&case["of"])).pad_mode(&padding, mode);
            if let Some(fault) = fault(&y, &case["is"]) {
                faults.push(format!("{} by {padding:?}, {mode:?}, on {device} {fault}", case["of"]));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn gradients_of_repeated_elements_add_up() {
    let d = Device::cpu();
    let slope = |mode| {
        let x = count_up(&d, &[3]).into_leaf(true).unwrap();
        let y = x.pad_mode(&[2, 1], mode);
        grad(&(&y * &count_up(&d, &[6])).sum_all(), &[&x])[0].to_vec::<f32>().unwrap()
    };
    assert_eq!(slope(PadMode::Replicate), [0.0 + 1.0 + 2.0, 3.0, 4.0 + 5.0]);
    assert_eq!(slope(PadMode::Reflect), [2.0, 1.0 + 3.0 + 5.0, 0.0 + 4.0]);
    assert_eq!(slope(PadMode::Circular), [2.0 + 5.0, 0.0 + 3.0, 1.0 + 4.0]);
    assert_eq!(slope(PadMode::Constant(1.0)), [2.0, 3.0, 4.0]);
}

#[test]
#[should_panic(expected = "Reflect has at most 2")]
fn a_mirror_has_no_more_than_there_is() {
    Tensor::ones(&Device::cpu(), [3]).pad_mode(&[0, 3], PadMode::Reflect);
}
