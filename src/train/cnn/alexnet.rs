//! AlexNet, the network that made the field (Krizhevsky, Sutskever and Hinton, 2012), for pictures of 3x224x224.

use crate::error::Result;
use crate::nn::{Conv2d, Dropout, Flatten, Init, Linear, LocalResponseNorm, MaxPool2d, Module, Pass, Relu, Sequential};
use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::tensor::Tensor;

/// AlexNet: five convolutions and three fully connected layers.
pub struct AlexNet {
    /// The convolutions.
    pub features: Sequential,
    /// The fully connected layers.
    pub classifier: Sequential,
}

crate::parameters!(AlexNet { features, classifier });

/// A convolution of `k`x`k` that keeps the size if the stride is 1, and relu.
fn conv(
    net: Sequential,
    init: &mut Init,
    sizes: [usize; 3],
    stride: usize,
    padding: usize,
    groups: usize,
) -> Result<Sequential> {
    let [inputs, outputs, k] = sizes;
    let options = Conv2dOptions { stride: [stride; 2], padding: padding.into(), groups, ..Default::default() };
    Ok(net.then(Conv2d::new(init, inputs, outputs, [k, k], options)?).then(Relu))
}

fn pool() -> MaxPool2d {
    MaxPool2d(Pool2dOptions { stride: [2, 2], ..Pool2dOptions::new([3, 3]) })
}

/// Three fully connected layers with dropout before the first two.
fn classifier(init: &mut Init, inputs: usize, classes: usize) -> Result<Sequential> {
    let net = Sequential::new().then(Dropout::new(0.5)).then(Linear::new(init, inputs, 4096)?).then(Relu);
    let net = net.then(Dropout::new(0.5)).then(Linear::new(init, 4096, 4096)?).then(Relu);
    Ok(net.then(Linear::new(init, 4096, classes)?))
}

impl AlexNet {
    /// The network of the paper: local response normalisation, and three convolutions in two groups, since it was
    /// trained on two GPUs. 60,965,224 parameters with 1000 classes.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn new(init: &mut Init, classes: usize) -> Result<AlexNet> {
        // The paper adds squares up, PyTorch takes their mean: alpha is 5 times 1e-4.
        let norm = || LocalResponseNorm { size: 5, alpha: 5e-4, beta: 0.75, k: 2.0 };
        let net = conv(Sequential::new(), init, [3, 96, 11], 4, 2, 1)?.then(norm()).then(pool());
        let net = conv(net, init, [96, 256, 5], 1, 2, 2)?.then(norm()).then(pool());
        let net = conv(net, init, [256, 384, 3], 1, 1, 1)?;
        let net = conv(net, init, [384, 384, 3], 1, 1, 2)?;
        let features = conv(net, init, [384, 256, 3], 1, 1, 2)?.then(pool());
        Ok(AlexNet { features, classifier: classifier(init, 256 * 6 * 6, classes)? })
    }

    /// The network that torchvision calls `alexnet`, with its key paths: without normalisation and groups, and narrower
    /// at first (Krizhevsky, 2014). 61,100,840 parameters with 1000 classes.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn torchvision(init: &mut Init, classes: usize) -> Result<AlexNet> {
        let net = conv(Sequential::new(), init, [3, 64, 11], 4, 2, 1)?.then(pool());
        let net = conv(net, init, [64, 192, 5], 1, 2, 1)?.then(pool());
        let net = conv(net, init, [192, 384, 3], 1, 1, 1)?;
        let net = conv(net, init, [384, 256, 3], 1, 1, 1)?;
        let features = conv(net, init, [256, 256, 3], 1, 1, 1)?.then(pool());
        Ok(AlexNet { features, classifier: classifier(init, 256 * 6 * 6, classes)? })
    }
}

impl Module for AlexNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let x = self.features.forward(x, pass).adaptive_avg_pool2d([6, 6]);
        let x = Flatten.forward(&x, pass);
        self.classifier.forward(&x, pass)
    }
}
