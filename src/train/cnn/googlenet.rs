//! GoogLeNet (Szegedy et al., "Going deeper with convolutions", 2014), for pictures of 3x224x224.

use crate::error::Result;
use crate::nn::{Conv2d, Dropout, Flatten, Init, Linear, LocalResponseNorm, Module, Pass};
use crate::ops::{Conv2dOptions, Pool2dOptions};
use crate::tensor::Tensor;

fn conv(init: &mut Init, inputs: usize, outputs: usize, k: usize, stride: usize) -> Result<Conv2d> {
    let options = Conv2dOptions { stride: [stride; 2], padding: (k / 2).into(), ..Default::default() };
    Conv2d::new(init, inputs, outputs, [k, k], options)
}

/// The largest of 3x3. The last window may hang over the end: 112 pixels become 56.
fn pool(x: &Tensor, stride: usize) -> Tensor {
    let options = Pool2dOptions { stride: [stride; 2], ceil_mode: stride > 1, ..Pool2dOptions::new([3, 3]) };
    let padding = if stride > 1 { 0 } else { 1 };
    x.max_pool2d(&Pool2dOptions { padding: padding.into(), ..options })
}

/// Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and 5x5; pooling and 1x1.
#[derive(Debug)]
pub struct Inception {
    conv1: Conv2d,
    reduce3: Conv2d,
    conv3: Conv2d,
    reduce5: Conv2d,
    conv5: Conv2d,
    project: Conv2d,
}

crate::parameters!(Inception { conv1, reduce3, conv3, reduce5, conv5, project });

impl Inception {
    /// A module over `inputs` channels. `widths` are a row of the paper's table: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5,
    /// pool proj.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn new(init: &mut Init, inputs: usize, widths: [usize; 6]) -> Result<Inception> {
        let [one, reduce3, three, reduce5, five, project] = widths;
        Ok(Inception {
            conv1: conv(init, inputs, one, 1, 1)?,
            reduce3: conv(init, inputs, reduce3, 1, 1)?,
            conv3: conv(init, reduce3, three, 3, 1)?,
            reduce5: conv(init, inputs, reduce5, 1, 1)?,
            conv5: conv(init, reduce5, five, 5, 1)?,
            project: conv(init, inputs, project, 1, 1)?,
        })
    }
}

impl Module for Inception {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let mut relu = |layer: &Conv2d, x: &Tensor| layer.forward(x, pass).relu();
        let one = relu(&self.conv1, x);
        let three = relu(&self.reduce3, x);
        let three = relu(&self.conv3, &three);
        let five = relu(&self.reduce5, x);
        let five = relu(&self.conv5, &five);
        let pooled = relu(&self.project, &pool(x, 1));
        Tensor::concat(&[&one, &three, &five, &pooled], 1)
    }
}

/// A small classifier in the middle of the network, so that gradients reach its beginning; used in training only.
#[derive(Debug)]
struct Auxiliary {
    conv: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

crate::parameters!(Auxiliary { conv, fc1, fc2 });

impl Auxiliary {
    fn new(init: &mut Init, inputs: usize, classes: usize) -> Result<Auxiliary> {
        let fc1 = Linear::new(init, 128 * 4 * 4, 1024)?;
        Ok(Auxiliary { conv: conv(init, inputs, 128, 1, 1)?, fc1, fc2: Linear::new(init, 1024, classes)? })
    }
}

impl Module for Auxiliary {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let x = x.avg_pool2d(&Pool2dOptions { stride: [3, 3], ..Pool2dOptions::new([5, 5]) });
        let x = self.conv.forward(&x, pass).relu();
        let x = self.fc1.forward(&Flatten.forward(&x, pass), pass).relu();
        self.fc2.forward(&Dropout::new(0.7).forward(&x, pass), pass)
    }
}

/// GoogLeNet: 22 layers with weights, nine inception modules, two auxiliary classifiers.
#[derive(Debug)]
pub struct GoogLeNet {
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    inception3a: Inception,
    inception3b: Inception,
    inception4a: Inception,
    inception4b: Inception,
    inception4c: Inception,
    inception4d: Inception,
    inception4e: Inception,
    inception5a: Inception,
    inception5b: Inception,
    fc: Linear,
    aux1: Auxiliary,
    aux2: Auxiliary,
}

crate::parameters!(GoogLeNet {
    conv1,
    conv2,
    conv3,
    inception3a,
    inception3b,
    inception4a,
    inception4b,
    inception4c,
    inception4d,
    inception4e,
    inception5a,
    inception5b,
    fc,
    aux1,
    aux2
});

/// A stage of the network: its name, and what comes out of it.
pub type Stage = (&'static str, Tensor);

impl GoogLeNet {
    /// The network of the paper.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn new(init: &mut Init, classes: usize) -> Result<GoogLeNet> {
        Ok(GoogLeNet {
            conv1: conv(init, 3, 64, 7, 2)?,
            conv2: conv(init, 64, 64, 1, 1)?,
            conv3: conv(init, 64, 192, 3, 1)?,
            inception3a: Inception::new(init, 192, [64, 96, 128, 16, 32, 32])?,
            inception3b: Inception::new(init, 256, [128, 128, 192, 32, 96, 64])?,
            inception4a: Inception::new(init, 480, [192, 96, 208, 16, 48, 64])?,
            inception4b: Inception::new(init, 512, [160, 112, 224, 24, 64, 64])?,
            inception4c: Inception::new(init, 512, [128, 128, 256, 24, 64, 64])?,
            inception4d: Inception::new(init, 512, [112, 144, 288, 32, 64, 64])?,
            inception4e: Inception::new(init, 528, [256, 160, 320, 32, 128, 128])?,
            inception5a: Inception::new(init, 832, [256, 160, 320, 32, 128, 128])?,
            inception5b: Inception::new(init, 832, [384, 192, 384, 48, 128, 128])?,
            fc: Linear::new(init, 1024, classes)?,
            aux1: Auxiliary::new(init, 512, classes)?,
            aux2: Auxiliary::new(init, 528, classes)?,
        })
    }

    /// What comes out of each stage of the paper's table, the logits last.
    #[track_caller]
    pub fn stages(&self, x: &Tensor, pass: &mut Pass) -> Vec<Stage> {
        let norm = LocalResponseNorm { size: 5, alpha: 5e-4, beta: 0.75, k: 2.0 };
        let mut stages: Vec<Stage> = Vec::new();
        let conv1 = self.conv1.forward(x, pass).relu();
        let pool1 = pool(&conv1, 2);
        let x = self.conv2.forward(&norm.forward(&pool1, pass), pass).relu();
        let conv2 = self.conv3.forward(&x, pass).relu();
        let mut x = pool(&norm.forward(&conv2, pass), 2);
        stages.extend([("conv1", conv1), ("pool1", pool1), ("conv2", conv2), ("pool2", x.clone())]);
        let modules = [
            ("3a", &self.inception3a),
            ("3b", &self.inception3b),
            ("4a", &self.inception4a),
            ("4b", &self.inception4b),
            ("4c", &self.inception4c),
            ("4d", &self.inception4d),
            ("4e", &self.inception4e),
            ("5a", &self.inception5a),
            ("5b", &self.inception5b),
        ];
        for (name, module) in modules {
            x = module.forward(&x, pass);
            stages.push((name, x.clone()));
            if let "3b" | "4e" = name {
                x = pool(&x, 2);
                stages.push((if name == "3b" { "pool3" } else { "pool4" }, x.clone()));
            }
        }
        let mean = x.global_avg_pool();
        let kept = Dropout::new(0.4).forward(&Flatten.forward(&mean, pass), pass);
        let logits = self.fc.forward(&kept, pass);
        stages.extend([("mean", mean), ("fc", logits)]);
        stages
    }

    /// The logits, and in training those of the two auxiliary classifiers.
    #[track_caller]
    pub fn forward_with_auxiliary(&self, x: &Tensor, pass: &mut Pass) -> (Tensor, Option<[Tensor; 2]>) {
        let mut stages = self.stages(x, pass);
        let logits = stages.pop().expect("the last is there").1;
        let of = |name: &str| stages.iter().find(|s| s.0 == name).expect("a stage of this name").1.clone();
        let auxiliary = pass.training.then(|| [self.aux1.forward(&of("4a"), pass), self.aux2.forward(&of("4d"), pass)]);
        (logits, auxiliary)
    }

    /// The cross-entropy; in training with 0.3 times that of each auxiliary classifier, as in the paper.
    #[track_caller]
    pub fn loss(&self, x: &Tensor, labels: &Tensor, pass: &mut Pass) -> Tensor {
        let (logits, auxiliary) = self.forward_with_auxiliary(x, pass);
        let loss = logits.cross_entropy(labels);
        auxiliary.iter().flatten().fold(loss, |sum, aux| &sum + &(&aux.cross_entropy(labels) * 0.3))
    }
}

impl Module for GoogLeNet {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        self.stages(x, pass).pop().expect("the last is there").1
    }
}
