//! ONNX's convolutions and pools over three axes of space, and pools with dilation, as sums over windows.

use wgrad::functional::{Conv3dOptions, Pool3dOptions};
use wgrad::ops::Conv2dOptions;
use wgrad::{DType, Tensor};

use crate::judge::Unsupported;
use crate::onnx::{Node, Outputs, one, pads, unsupported, whole};

/// A window that slides over two or three axes.
struct Window {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    pads: Vec<[usize; 2]>,
    /// Places behind the padding that only the last window reaches.
    extra: Vec<usize>,
}

impl Window {
    fn of(n: &Node, x: &Tensor) -> Result<Window, Unsupported> {
        let axes = x.rank() - 2;
        let all = |name: &str| n.ints(name).map_or(vec![1; axes], |v| v.iter().map(|&k| k as usize).collect());
        let (kernel, stride, dilation) = (all("kernel_shape"), all("strides"), all("dilations"));
        let given = pads(n, axes)?;
        if given.iter().flatten().any(|&p| p < 0) {
            return Err(Unsupported("negative pads".into()));
        }
        let pads: Vec<[usize; 2]> = given.iter().map(|p| p.map(|v| v as usize)).collect();
        let mut extra = vec![0; axes];
        if n.i("ceil_mode", 0) != 0 {
            for i in 0..axes {
                let span = (kernel[i] - 1) * dilation[i] + 1;
                let length = x.shape()[2 + i] + pads[i][0] + pads[i][1];
                let mut count = (length - span).div_ceil(stride[i]) + 1;
                // A window that starts behind the image is none.
                if (count - 1) * stride[i] >= x.shape()[2 + i] + pads[i][0] {
                    count -= 1;
                }
                extra[i] = ((count - 1) * stride[i] + span).saturating_sub(length);
            }
        }
        Ok(Window { kernel, stride, dilation, pads, extra })
    }

    /// `x` with its padding, and with what the last window reaches.
    fn padded(&self, x: &Tensor, padding: f32, extra: f32) -> Tensor {
        let none = [(0, 0), (0, 0)];
        let own: Vec<(usize, usize)> = none.into_iter().chain(self.pads.iter().map(|p| (p[0], p[1]))).collect();
        let behind: Vec<(usize, usize)> = none.into_iter().chain(self.extra.iter().map(|&e| (0, e))).collect();
        x.pad(&own, padding).pad(&behind, extra)
    }

    /// The sum of each window of what is padded already: a convolution of each channel with ones.
    fn sums(&self, x: &Tensor) -> Tensor {
        let s = x.shape().to_vec();
        let alone = x.reshape([&[s[0] * s[1], 1], &s[2..]].concat());
        let ones = Tensor::ones(x.device(), [&[1, 1], &self.kernel[..]].concat());
        let y = match self.kernel[..] {
            [_, _] => {
                let [stride, dilation] = [&self.stride, &self.dilation].map(|v| [v[0], v[1]]);
                alone.conv2d(&ones, None, &Conv2dOptions { stride, dilation, ..Default::default() })
            }
            _ => {
                let [stride, dilation] = [&self.stride, &self.dilation].map(|v| [v[0], v[1], v[2]]);
                alone.conv3d(&ones, None, &Conv3dOptions { stride, dilation, ..Default::default() })
            }
        };
        y.reshape([&s[..2], &y.shape()[2..]].concat())
    }

    fn triple(v: &[usize]) -> Result<[usize; 3], Unsupported> {
        v.try_into().map_err(|_| Unsupported(format!("{v:?} of three axes")))
    }
}

/// Convolution of volumes.
pub fn conv(n: &Node) -> Outputs {
    let (x, weight) = (n.fx(0)?, n.fx(1)?);
    let w = Window::of(n, &x)?;
    let options = Conv3dOptions {
        stride: Window::triple(&w.stride)?,
        dilation: Window::triple(&w.dilation)?,
        groups: n.i("group", 1) as usize,
        ..Default::default()
    };
    one(w.padded(&x, 0.0, 0.0).conv3d(&weight, n.opt(2).as_ref(), &options))
}

/// Its transpose.
pub fn conv_transpose(n: &Node) -> Outputs {
    let (x, weight) = (n.fx(0)?, n.fx(1)?);
    n.ignore("output_shape");
    let w = Window::of(n, &x)?;
    let extra = n.ints("output_padding").map_or([0; 3].to_vec(), |v| v.iter().map(|&k| k as usize).collect());
    let options = Conv3dOptions {
        stride: Window::triple(&w.stride)?,
        dilation: Window::triple(&w.dilation)?,
        groups: n.i("group", 1) as usize,
        ..Default::default()
    };
    // Padding is what is cut off the whole result.
    let y = x.conv_transpose3d(&weight, n.opt(2).as_ref(), Window::triple(&extra)?, &options);
    let cut = |y: Tensor, (i, p): (usize, &[usize; 2])| y.narrow(2 + i, p[0], y.shape()[2 + i] - p[0] - p[1]);
    one(w.pads.iter().enumerate().fold(y, cut))
}

/// The largest of each window of volumes.
pub fn max_pool(n: &Node) -> Outputs {
    let kind = n.x(0)?.dtype();
    let x = n.fx(0)?;
    let w = Window::of(n, &x)?;
    let options = Pool3dOptions {
        stride: Window::triple(&w.stride)?,
        dilation: Window::triple(&w.dilation)?,
        ..Pool3dOptions::new(Window::triple(&w.kernel)?)
    };
    let low = f32::NEG_INFINITY;
    let padded = w.padded(&x, low, low);
    let (y, index) = padded.max_pool3d_with_indices(&options);
    if n.outputs < 2 {
        n.ignore("storage_order");
        return one(if kind == DType::F32 { y } else { y.cast(kind) });
    }
    if padded.shape() != x.shape() || n.i("storage_order", 0) != 0 {
        return unsupported("positions in padded volumes");
    }
    let volume = x.shape()[2..].iter().product::<usize>() as i32;
    let planes: Vec<i32> = (0..(x.shape()[0] * x.shape()[1]) as i32).map(|p| p * volume).collect();
    let planes = Tensor::from_slice(n.device, &planes, [x.shape()[0], x.shape()[1], 1, 1, 1]);
    let planes = planes.map_err(|e| Unsupported(e.to_string()))?;
    Ok(vec![y, whole(index).add(&planes)])
}

/// The mean of each window: its sum over the share of it that counts.
pub fn avg_pool(n: &Node) -> Outputs {
    let x = n.fx(0)?;
    let w = Window::of(n, &x)?;
    let counts = if n.i("count_include_pad", 0) != 0 { 1.0 } else { 0.0 };
    let share = w.padded(&Tensor::ones(n.device, x.shape()), counts, 0.0);
    one(w.sums(&w.padded(&x, 0.0, 0.0)).div(&w.sums(&share)))
}

/// The p-norm of each window.
pub fn lp_pool(n: &Node) -> Outputs {
    let x = n.fx(0)?;
    let w = Window::of(n, &x)?;
    let p = n.f("p", 2.0) as f32;
    one(w.sums(&w.padded(&x.abs().powf(p), 0.0, 0.0)).powf(1.0 / p))
}
