//! Residual networks (He, Zhang, Ren and Sun, 2015): those for ImageNet under torchvision's key paths, those for CIFAR,
//! and the plain twins without shortcuts that get worse the deeper they are.

use crate::error::{Error, Result};
use crate::functional::PadMode;
use crate::nn::{BatchNorm2d, Conv2d, Init, Linear, Module, Pass, Sequential};
use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::tensor::Tensor;

/// How the input of a block reaches its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortcut {
    /// Not at all: a plain network.
    None,
    /// As it is; where channels are added, with zeros for the new ones and every second pixel (option A).
    Padded,
    /// As it is; where channels are added, by a convolution of 1x1 and its normalisation (option B).
    Projected,
}

/// A convolution without bias, normal with the variance that suits relu and the outputs of a weight (`fan_out`).
fn conv(init: &mut Init, inputs: usize, outputs: usize, k: usize, stride: usize) -> Result<Conv2d> {
    let deviation = (2.0 / (outputs * k * k) as f64).sqrt();
    let weight = init.normal([outputs, inputs, k, k], deviation as f32, f64::INFINITY)?;
    let options = Conv2dOptions { stride: [stride; 2], padding: (k / 2).into(), ..Default::default() };
    Ok(Conv2d { weight, bias: None, options, padding_mode: PadMode::Constant(0.0) })
}

/// Two convolutions of 3x3, or three of 1x1, 3x3 and 1x1, and a shortcut.
pub struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm2d>,
    downsample: Option<Sequential>,
    shortcut: Shortcut,
    stride: usize,
    outputs: usize,
}

crate::parameters!(Block { conv1, bn1, conv2, bn2, conv3, bn3, downsample });

impl Block {
    /// A block of `width` channels within; a bottleneck gives four times as many.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn new(
        init: &mut Init,
        inputs: usize,
        width: usize,
        stride: usize,
        bottleneck: bool,
        shortcut: Shortcut,
    ) -> Result<Block> {
        let outputs = if bottleneck { 4 * width } else { width };
        let [first, second] = if bottleneck { [(1, 1), (3, stride)] } else { [(3, stride), (3, 1)] };
        let mut block = Block {
            conv1: conv(init, inputs, width, first.0, first.1)?,
            bn1: BatchNorm2d::new(init, width)?,
            conv2: conv(init, width, width, second.0, second.1)?,
            bn2: BatchNorm2d::new(init, width)?,
            conv3: None,
            bn3: None,
            downsample: None,
            shortcut,
            stride,
            outputs,
        };
        if bottleneck {
            block.conv3 = Some(conv(init, width, outputs, 1, 1)?);
            block.bn3 = Some(BatchNorm2d::new(init, outputs)?);
        }
        if shortcut == Shortcut::Projected && (stride > 1 || inputs != outputs) {
            let project = Sequential::new().then(conv(init, inputs, outputs, 1, stride)?);
            block.downsample = Some(project.then(BatchNorm2d::new(init, outputs)?));
        }
        Ok(block)
    }

    /// The input as it is added at the end.
    fn shortcut(&self, x: &Tensor, pass: &mut Pass) -> Option<Tensor> {
        match (self.shortcut, &self.downsample) {
            (Shortcut::None, _) => None,
            (_, Some(project)) => Some(project.forward(x, pass)),
            (Shortcut::Padded, _) if x.shape()[1] != self.outputs || self.stride > 1 => {
                let &[n, c, h, w] = &x.shape()[..] else { unreachable!("a convolution took it") };
                let (s, new) = (self.stride, self.outputs - c);
                let size = [n, c, h.div_ceil(s), w.div_ceil(s)];
                let pixels = x.slice(&[0; 4], &size, &[1, 1, s as isize, s as isize]);
                Some(pixels.pad(&[(0, 0), (new / 2, new - new / 2), (0, 0), (0, 0)], 0.0))
            }
            _ => Some(x.clone()),
        }
    }
}

impl Module for Block {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let y = self.bn1.forward(&self.conv1.forward(x, pass), pass).relu();
        let mut y = self.bn2.forward(&self.conv2.forward(&y, pass), pass);
        if let (Some(conv3), Some(bn3)) = (&self.conv3, &self.bn3) {
            y = bn3.forward(&conv3.forward(&y.relu(), pass), pass);
        }
        match self.shortcut(x, pass) {
            Some(short) => (&y + &short).relu(),
            None => y.relu(),
        }
    }
}

/// A residual network, or its plain twin.
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    /// The last layer, to be replaced for other classes.
    pub fc: Linear,
    /// Whether pooling follows the first convolution: networks for large pictures.
    pooled: bool,
}

crate::parameters!(ResNet { conv1, bn1, layer1, layer2, layer3, layer4, fc });

/// Blocks in a row; the first may shrink the picture.
fn stage(
    init: &mut Init,
    channels: &mut usize,
    (width, count, stride): (usize, usize, usize),
    bottleneck: bool,
    shortcut: Shortcut,
) -> Result<Vec<Block>> {
    (0..count)
        .map(|k| {
            let block = Block::new(init, *channels, width, if k == 0 { stride } else { 1 }, bottleneck, shortcut)?;
            *channels = block.outputs;
            Ok(block)
        })
        .collect()
}

impl ResNet {
    /// ResNet-18, -34 or -50 for pictures of 3x224x224, with torchvision's key paths and counts: 11,689,512, 21,797,672
    /// and 25,557,032 parameters with 1000 classes.
    ///
    /// # Errors
    /// If there is no network of this depth; a fault of the device.
    pub fn imagenet(init: &mut Init, depth: usize, classes: usize) -> Result<ResNet> {
        let (counts, bottleneck) = match depth {
            18 => ([2, 2, 2, 2], false),
            34 => ([3, 4, 6, 3], false),
            50 => ([3, 4, 6, 3], true),
            _ => return Err(Error::argument(format!("a ResNet of {depth} layers"), "use 18, 34 or 50")),
        };
        let mut channels = 64;
        let conv1 = conv(init, 3, channels, 7, 2)?;
        let bn1 = BatchNorm2d::new(init, channels)?;
        let mut next =
            |width, count, stride| stage(init, &mut channels, (width, count, stride), bottleneck, Shortcut::Projected);
        let [layer1, layer2, layer3, layer4] =
            [next(64, counts[0], 1)?, next(128, counts[1], 2)?, next(256, counts[2], 2)?, next(512, counts[3], 2)?];
        let fc = Linear::new(init, channels, classes)?;
        Ok(ResNet { conv1, bn1, layer1, layer2, layer3, layer4, fc, pooled: true })
    }

    /// The network for small pictures such as CIFAR's: `depth` layers, 6n + 2, in three stages of 16, 32 and 64
    /// channels. ResNet-20 has 269,722 parameters and ResNet-56 853,018, and with [`Shortcut::None`] their plain twins
    /// as many.
    ///
    /// # Errors
    /// If the depth is not of that form; a fault of the device.
    pub fn small(init: &mut Init, depth: usize, shortcut: Shortcut, channels: usize, classes: usize) -> Result<ResNet> {
        if depth < 8 || depth % 6 != 2 {
            return Err(Error::argument(format!("a ResNet of {depth} layers"), "use 6n + 2: 20, 32, 44, 56 or 110"));
        }
        let conv1 = conv(init, channels, 16, 3, 1)?;
        let bn1 = BatchNorm2d::new(init, 16)?;
        let (mut channels, count) = (16, depth / 6);
        let mut next = |width, stride| stage(init, &mut channels, (width, count, stride), false, shortcut);
        let [layer1, layer2, layer3] = [next(16, 1)?, next(32, 2)?, next(64, 2)?];
        let fc = Linear::new(init, 64, classes)?;
        Ok(ResNet { conv1, bn1, layer1, layer2, layer3, layer4: Vec::new(), fc, pooled: false })
    }
}

impl Module for ResNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let mut x = self.bn1.forward(&self.conv1.forward(x, pass), pass).relu();
        if self.pooled {
            let halves = Pool2dOptions { stride: [2, 2], padding: 1.into(), ..Pool2dOptions::new([3, 3]) };
            x = x.max_pool2d(&halves);
        }
        for block in [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten() {
            x = block.forward(&x, pass);
        }
        self.fc.forward(&x.global_avg_pool().flatten(1), pass)
    }
}
