//! Steps of networks for pictures: two plain ones and a residual one.

use wgrad::nn::{AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Dropout, Flatten, Init, Linear, MaxPool2d, Relu, Sequential};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};
use wgrad::optim::{Adam, Sgd};
use wgrad::train::cnn::{Block, Shortcut};
use wgrad::{Device, Result};

use super::{Workload, floats, labels};

fn same() -> Conv2dOptions {
    Conv2dOptions { padding: Padding::Same, ..Default::default() }
}

/// 50 pictures of 1x28x28, two convolutions of 5x5 with pooling, two linear layers.
pub fn cpcpff(d: &Device, replay: bool) -> Result<Workload> {
    let init = &mut Init::new(d, 0);
    let pool = || MaxPool2d(Pool2dOptions::new([2, 2]));
    let net = Sequential::new().then(Conv2d::new(init, 1, 32, [5, 5], same())?).then(Relu).then(pool());
    let net = net.then(Conv2d::new(init, 32, 64, [5, 5], same())?).then(Relu).then(pool());
    let net = net.then(Flatten).then(Linear::new(init, 3136, 1024)?).then(Relu);
    let net = net.then(Linear::new(init, 1024, 10)?);
    Ok(Workload::classify(
        replay,
        net,
        Adam::new(1e-4),
        floats(d, [50, 1, 28, 28], 1, 0.5, 0.5)?,
        labels(d, 50, 10, 2)?,
    ))
}

/// 50 pictures of 3x32x32, two convolutions of 5x5 with overlapping pooling and normalisation, three linear layers.
pub fn svhn(d: &Device, replay: bool) -> Result<Workload> {
    let init = &mut Init::new(d, 0);
    let pool = || MaxPool2d(Pool2dOptions { stride: [2, 2], ..Pool2dOptions::new([3, 3]) });
    let net = Sequential::new().then(Conv2d::new(init, 3, 64, [5, 5], same())?).then(Relu).then(pool());
    let net = net.then(BatchNorm2d::new(init, 64)?);
    let net = net.then(Conv2d::new(init, 64, 64, [5, 5], same())?).then(Relu).then(pool());
    let net = net.then(BatchNorm2d::new(init, 64)?).then(Flatten);
    let net = net.then(Linear::new(init, 3136, 384)?).then(Relu).then(Dropout::new(0.5));
    let net = net.then(Linear::new(init, 384, 192)?).then(Relu).then(Linear::new(init, 192, 10)?);
    Ok(Workload::classify(
        replay,
        net,
        Adam::new(1e-3),
        floats(d, [50, 3, 32, 32], 1, 0.5, 0.5)?,
        labels(d, 50, 10, 2)?,
    ))
}

/// 16 pictures of 3x32x32, ResNet-18 with a stem of 3x3.
pub fn resnet18(d: &Device, replay: bool) -> Result<Workload> {
    let init = &mut Init::new(d, 0);
    let options = Conv2dOptions { padding: Padding::Explicit([1; 4]), ..Default::default() };
    let stem = Conv2d::new(init, 3, 64, [3, 3], options)?.without_bias();
    let mut net = Sequential::new().then(stem).then(BatchNorm2d::new(init, 64)?).then(Relu);
    let mut channels = 64;
    for (width, stride) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
        net = net.then(Block::new(init, channels, width, stride, false, Shortcut::Projected)?);
        net = net.then(Block::new(init, width, width, 1, false, Shortcut::Projected)?);
        channels = width;
    }
    let net = net.then(AdaptiveAvgPool2d([1, 1])).then(Flatten).then(Linear::new(init, 512, 10)?);
    Ok(Workload::classify(
        replay,
        net,
        Sgd::new(0.01).momentum(0.9),
        floats(d, [16, 3, 32, 32], 1, 1.0, 0.0)?,
        labels(d, 16, 10, 2)?,
    ))
}
