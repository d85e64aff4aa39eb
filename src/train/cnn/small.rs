//! The small networks of a course on MNIST, and LeNet-5. A letter stands for a layer: c a convolution of 5x5, p
//! pooling, n normalisation, f a fully connected layer, d dropout.

use crate::error::{Error, Result};
use crate::nn::{
    AvgPool2d, Conv2d, Dropout, Flatten, Init, Linear, LocalResponseNorm, MaxPool2d, Relu, Sequential, Tanh,
};
use crate::ops::{Conv2dOptions, Padding, Pool2dOptions};

/// The names that [`small`] knows.
pub const SMALL: &[&str] = &["lr", "cnn_cf", "cnn_cnf", "cnn_cpcpff", "cnn_cpcpfdf", "cnn_cpncpnff", "cnn_cpncpnfdf"];

/// A small network by its name.
///
/// # Errors
/// If there is no such network; a fault of the device.
pub fn small(name: &str, init: &mut Init, [channels, height, width]: [usize; 3], classes: usize) -> Result<Sequential> {
    let Some(letters) = name.strip_prefix("cnn_").or((name == "lr").then_some("f")).filter(|_| SMALL.contains(&name))
    else {
        return Err(Error::argument(format!("unknown model {name:?}"), format!("use one of {}", SMALL.join(", "))));
    };
    let same = Conv2dOptions { padding: Padding::Same, ..Default::default() };
    // A single convolution has 64 filters; of two, the first has 32.
    let filters: &[usize] = if letters.matches('c').count() == 1 { &[64] } else { &[32, 64] };
    let (mut net, mut convolutions) = (Sequential::new(), filters.iter());
    let (mut c, mut h, mut w, mut flat) = (channels, height, width, None);
    for (at, letter) in letters.char_indices() {
        net = match letter {
            'c' => {
                let outputs = *convolutions.next().expect("one per letter");
                let conv = Conv2d::new(init, c, outputs, [5, 5], same)?;
                c = outputs;
                net.then(conv).then(Relu)
            }
            'p' => {
                (h, w) = (h / 2, w / 2);
                net.then(MaxPool2d(Pool2dOptions::new([2, 2])))
            }
            // Over nine neighbouring channels, with the numbers of TensorFlow's tutorial on CIFAR-10.
            'n' => net.then(LocalResponseNorm { size: 9, alpha: 0.001, beta: 0.75, k: 1.0 }),
            'd' => net.then(Dropout::new(0.5)),
            _ => {
                let last = !letters[at + 1..].contains('f');
                let outputs = if last { classes } else { 1024 };
                let inputs = flat.unwrap_or(c * h * w);
                if flat.replace(outputs).is_none() {
                    net = net.then(Flatten);
                }
                net = net.then(Linear::new(init, inputs, outputs)?);
                if last { net } else { net.then(Relu) }
            }
        };
    }
    Ok(net)
}

/// LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998) as it is built today: tanh, means of 2x2, all maps connected; for
/// pictures of 28x28 or 32x32. On MNIST it has 61,706 parameters.
///
/// # Errors
/// A fault of the device.
pub fn lenet5(init: &mut Init, [channels, height, _]: [usize; 3], classes: usize) -> Result<Sequential> {
    let padding = Padding::from((32 - height.min(32)) / 2);
    let first = Conv2d::new(init, channels, 6, [5, 5], Conv2dOptions { padding, ..Default::default() })?;
    let second = Conv2d::new(init, 6, 16, [5, 5], Conv2dOptions::default())?;
    let pool = || AvgPool2d(Pool2dOptions::new([2, 2]));
    let net = Sequential::new().then(first).then(Tanh).then(pool()).then(second).then(Tanh).then(pool()).then(Flatten);
    let net = net.then(Linear::new(init, 400, 120)?).then(Tanh).then(Linear::new(init, 120, 84)?).then(Tanh);
    Ok(net.then(Linear::new(init, 84, classes)?))
}
