//! State that is not trained: recorded by a forward pass, computed with the step, restored by name.

use wgrad::nn::{BatchNorm1d, BatchNorm2d, Buffer, Conv2d, Flatten, InstanceNorm2d};
use wgrad::nn::{Init, Linear, Module, Parameters, Pass, Sequential};
use wgrad::optim::{Optimizer, Sgd};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

fn ramp(device: &Device, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin() + 0.5).collect();
    Tensor::from_slice(device, &values, shape).unwrap()
}

fn values(model: &dyn Parameters) -> Vec<Vec<f32>> {
    let read = |b: &Buffer| match b.get().dtype() {
        wgrad::DType::F32 => b.get().to_vec::<f32>().unwrap(),
        _ => vec![b.count() as f32],
    };
    model.named_buffers().into_iter().map(|(_, b)| read(b)).collect()
}

fn close(got: &[f32], want: &[f32]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5)
}

#[test]
fn buffers_have_pytorch_names_and_are_no_parameters() {
    let init = &mut Init::new(&Device::cpu(), 0);
    let conv = Conv2d::new(init, 1, 4, [3, 3], Default::default()).unwrap().without_bias();
    let model = Sequential::new().then(conv).then(BatchNorm2d::new(init, 4).unwrap()).then(Flatten);
    let names: Vec<String> = model.state().into_iter().map(|(name, shape)| format!("{name} {shape}")).collect();
    assert_eq!(
        names,
        [
            "0.weight [4, 1, 3, 3]",
            "1.weight [4]",
            "1.bias [4]",
            "1.running_mean [4]",
            "1.running_var [4]",
            "1.num_batches_tracked []"
        ]
    );
    assert_eq!(model.count_parameters(), 36 + 8);
    assert!(BatchNorm1d::new(init, 3).unwrap().without_running().without_weight().state().is_empty());
}

/// torch.nn.BatchNorm1d(2) on [[1, 5], [3, 9]] twice: mean 2 and 7, unbiased variance 2 and 8, momentum 0.1.
#[test]
fn running_statistics_move_in_training_and_are_used_in_evaluation() {
    for device in [Device::cpu(), under_test()] {
        let layer = BatchNorm1d::new(&mut Init::new(&device, 0), 2).unwrap();
        let x = Tensor::from_slice(&device, &[1f32, 5., 3., 9.], [2, 2]).unwrap();
        for _ in 0..2 {
            layer.forward(&x, &mut Pass::train(0));
        }
        let found = values(&layer);
        assert!(close(&found[0], &[0.38, 1.33]) && close(&found[1], &[1.19, 2.33]), "{found:?} on {device}");
        assert_eq!(found[2], [2.]);
        let y = layer.forward(&x, &mut Pass::eval()).to_vec::<f32>().unwrap();
        let want = [0.62, 3.67, 2.62, 7.67].map(|v: f32| v);
        let scale = [1.19f32, 2.33, 1.19, 2.33].map(|v| (v + 1e-5).sqrt());
        assert!(close(&y, &[0, 1, 2, 3].map(|i| want[i] / scale[i])), "{y:?}");
        // The plain average of two equal batches is that of one.
        let layer = BatchNorm1d::new(&mut Init::new(&device, 0), 2).unwrap().with(1e-5, None);
        for _ in 0..2 {
            layer.forward(&x, &mut Pass::train(0));
        }
        let found = values(&layer);
        assert!(close(&found[0], &[2., 7.]) && close(&found[1], &[2., 8.]), "{found:?} on {device}");
    }
}

/// torch.nn.InstanceNorm2d(1, track_running_stats=True): the mean over images of mean and unbiased variance.
#[test]
fn instances_have_running_statistics_if_asked() {
    let device = Device::cpu();
    let layer = InstanceNorm2d::new().with_running(&mut Init::new(&device, 0), 1).unwrap().with(1e-5, Some(0.5));
    let x = Tensor::from_slice(&device, &[1f32, 3., 5., 9.], [2, 1, 1, 2]).unwrap();
    layer.forward(&x, &mut Pass::train(0));
    let found = values(&layer);
    assert!(close(&found[0], &[2.25]) && close(&found[1], &[3.]), "{found:?}");
    assert!(InstanceNorm2d::new().state().is_empty());
}

/// Whether the statistics are computed by the step, by a read before it, or by nobody until the end: they are the same.
#[test]
fn it_does_not_matter_who_computes_them() {
    for device in [Device::cpu(), under_test()] {
        let run = |read: &dyn Fn(&Sequential, &Tensor)| {
            let init = &mut Init::new(&device, 3);
            let model = Sequential::new().then(Linear::new(init, 3, 4).unwrap());
            let mut model = model.then(BatchNorm1d::new(init, 4).unwrap()).then(Linear::new(init, 4, 2).unwrap());
            let mut sgd = Sgd::new(0.1);
            let mut pass = Pass::train(0);
            for _ in 0..3 {
                let loss = model.forward(&ramp(&device, &[5, 3]), &mut pass).square().mean_all();
                read(&model, &loss);
                sgd.step(&mut model, &loss).unwrap();
            }
            model.forward(&ramp(&device, &[5, 3]), &mut pass);
            values(&model)
        };
        let plain = run(&|_, _| ());
        let by_loss = run(&|_, loss| {
            loss.item().unwrap();
        });
        let by_hand = run(&|model, _| {
            values(model);
        });
        assert!(plain.iter().zip(&by_loss).zip(&by_hand).all(|((a, b), c)| close(a, b) && close(a, c)), "on {device}");
        assert_eq!(plain[2], [4.]);
    }
}

/// A discriminator's statistics depend on the generator's parameters, which a step of the generator overwrites.
#[test]
fn statistics_survive_the_step_of_another_model() {
    for device in [Device::cpu(), under_test()] {
        let init = &mut Init::new(&device, 5);
        let mut generator = Linear::new(init, 3, 4).unwrap();
        let judge = Sequential::new().then(BatchNorm1d::new(init, 4).unwrap()).then(Linear::new(init, 4, 1).unwrap());
        let mut sgd = Sgd::new(0.1);
        let mut pass = Pass::train(0);
        let mean_of = |made: &Tensor| made.mean(&[0]).to_vec::<f32>().unwrap();
        let mut want = vec![0f32; 4];
        for _ in 0..3 {
            let made = generator.forward(&ramp(&device, &[5, 3]), &mut pass);
            mean_of(&made).iter().zip(&mut want).for_each(|(m, w)| *w = 0.9 * *w + 0.1 * m);
            let made = generator.forward(&ramp(&device, &[5, 3]), &mut pass);
            let loss = judge.forward(&made, &mut pass).mean_all();
            sgd.step(&mut generator, &loss).unwrap();
        }
        let found = values(&judge);
        assert!(close(&found[0], &want), "{found:?}, should be {want:?}, on {device}");
    }
}

#[test]
fn buffers_are_restored_by_name() {
    let device = Device::cpu();
    let layer = BatchNorm1d::new(&mut Init::new(&device, 0), 2).unwrap();
    layer.buffers(&mut |name, buffer| {
        let value = match name {
            "running_mean" => Tensor::from_slice(&device, &[1f32, 2.], 2).unwrap(),
            "running_var" => Tensor::from_slice(&device, &[3f32, 4.], 2).unwrap(),
            _ => Tensor::from_slice(&device, &[7u32], []).unwrap(),
        };
        buffer.set(value).unwrap();
    });
    assert_eq!(values(&layer), [vec![1., 2.], vec![3., 4.], vec![7.]]);
    layer.forward(&ramp(&device, &[4, 2]), &mut Pass::train(0));
    assert_eq!(values(&layer)[2], [8.]);
    let wrong = Tensor::from_slice(&device, &[1f32, 2., 3.], 3).unwrap();
    let held = Buffer::new(Tensor::from_slice(&device, &[1f32, 2.], 2).unwrap()).unwrap();
    let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| held.set(wrong))).unwrap_err();
    assert!(fault.downcast_ref::<String>().unwrap().contains("a buffer of f32 [2] cannot take f32 [3]"));
}
