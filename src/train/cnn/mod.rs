//! Convolutional networks for pictures, from softmax regression to residual networks of 50 layers.
//!
//! Names, sizes and initialisation are those of the papers, and where PyTorch's torchvision has the model, its key
//! paths: weights saved there load here. A network is an ordinary struct of layers; the small ones are [`Sequential`]s.
//!
//! ```
//! use wgrad::nn::{Init, Module, Parameters, Pass};
//! use wgrad::train::cnn;
//! use wgrad::{Device, Tensor};
//!
//! let device = Device::cpu();
//! let model = cnn::by_name("resnet20", &mut Init::new(&device, 1), [3, 32, 32], 10)?;
//! assert_eq!(model.count_parameters(), 269_722);
//! let logits = model.forward(&Tensor::zeros(&device, [2, 3, 32, 32]), &mut Pass::eval());
//! assert_eq!(logits.shape()[..], [2, 10]);
//! # Ok::<(), wgrad::Error>(())
//! ```

mod alexnet;
mod googlenet;
mod resnet;
mod small;

pub use alexnet::AlexNet;
pub use googlenet::{GoogLeNet, Inception};
pub use resnet::{Block, ResNet, Shortcut};
pub use small::{SMALL, lenet5, small};

use crate::error::{Error, Result};
use crate::nn::{Init, Module, Sequential};

/// Every name that [`by_name`] knows.
pub const NAMES: &[&str] = &[
    "lr",
    "cnn_cf",
    "cnn_cnf",
    "cnn_cpcpff",
    "cnn_cpcpfdf",
    "cnn_cpncpnff",
    "cnn_cpncpnfdf",
    "lenet5",
    "resnet20",
    "resnet56",
    "plain20",
    "plain56",
    "resnet18",
    "resnet34",
    "resnet50",
    "alexnet",
    "alexnet_torchvision",
    "googlenet",
];

/// The network of this name for pictures `[channels, height, width]`, giving `classes` logits.
///
/// # Errors
/// If there is no such network, or it does not take pictures of this shape; a fault of the device.
pub fn by_name(name: &str, init: &mut Init, shape: [usize; 3], classes: usize) -> Result<Box<dyn Module>> {
    let [channels, height, width] = shape;
    let takes = |fits: bool, wanted: &str| match fits {
        true => Ok(()),
        false => Err(Error::argument(
            format!("{name} for pictures of {channels}x{height}x{width}"),
            format!("it takes {wanted}; choose another network, or other pictures"),
        )),
    };
    let large = || takes(channels == 3 && height == 224 && width == 224, "3x224x224");
    let boxed = |net: Sequential| Box::new(net) as Box<dyn Module>;
    Ok(match name {
        "lenet5" => {
            takes(matches!((height, width), (28, 28) | (32, 32)), "28x28 or 32x32 pixels")?;
            boxed(lenet5(init, shape, classes)?)
        }
        "resnet20" | "resnet56" | "plain20" | "plain56" => {
            takes(height >= 4 && width >= 4, "at least 4x4 pixels")?;
            let depth = if name.ends_with("20") { 20 } else { 56 };
            let shortcut = if name.starts_with("plain") { Shortcut::None } else { Shortcut::Padded };
            Box::new(ResNet::small(init, depth, shortcut, channels, classes)?)
        }
        "resnet18" | "resnet34" | "resnet50" => {
            takes(channels == 3 && height >= 32 && width >= 32, "3 channels and at least 32x32 pixels")?;
            let depth = name[6..].parse().expect("digits");
            Box::new(ResNet::imagenet(init, depth, classes)?)
        }
        "alexnet" => {
            large()?;
            Box::new(AlexNet::new(init, classes)?)
        }
        "alexnet_torchvision" => {
            large()?;
            Box::new(AlexNet::torchvision(init, classes)?)
        }
        "googlenet" => {
            large()?;
            Box::new(GoogLeNet::new(init, classes)?)
        }
        _ if SMALL.contains(&name) => {
            takes(height >= 4 && width >= 4, "at least 4x4 pixels")?;
            boxed(small(name, init, shape, classes)?)
        }
        _ => {
            return Err(Error::argument(format!("unknown model {name:?}"), format!("use one of {}", NAMES.join(", "))));
        }
    })
}
