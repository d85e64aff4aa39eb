//! Convolutional networks against the tables of their papers, and against torchvision's counts and names.

use std::sync::LazyLock;

use wgrad::data::Images;
use wgrad::nn::{Init, Module, Parameters, Pass, RandomCrop, RandomHorizontalFlip, Scheme};
use wgrad::optim::{Adam, Optimizer, Sgd};
use wgrad::train::Supervised;
use wgrad::train::cnn::{self, AlexNet, GoogLeNet, ResNet, Shortcut};
use wgrad::{Device, Tensor};

use super::{numbers, same_losses};

static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);

/// Nothing is drawn: these tests look at sizes and names.
fn init() -> Init {
    Init::new(&CPU, 1).scheme(Scheme::Zeros)
}

/// Every network that fits gives one logit for each class, without being computed.
#[test]
fn every_name_is_a_network() {
    for shape in [[1, 28, 28], [3, 32, 32]] {
        for name in cnn::NAMES {
            let large = name.starts_with("alexnet") || *name == "googlenet";
            let resnet = matches!(*name, "resnet18" | "resnet34" | "resnet50");
            if large || resnet {
                continue;
            }
            let model = cnn::by_name(name, &mut init(), shape, 7).unwrap_or_else(|e| panic!("{name}: {e}"));
            let [c, h, w] = shape;
            let x = Tensor::zeros(&CPU, [2, c, h, w]);
            assert_eq!(model.forward(&x, &mut Pass::train(0)).shape()[..], [2, 7], "{name}");
        }
    }
    let fault = cnn::by_name("googlenet", &mut init(), [1, 28, 28], 10).err().unwrap().to_string();
    assert!(fault.contains("3x224x224"), "{fault}");
    assert!(cnn::by_name("vgg", &mut init(), [1, 28, 28], 10).err().unwrap().to_string().contains("resnet20"));
}

#[test]
fn small_networks_have_the_parameters_of_the_course() {
    for (name, count) in [
        ("lr", 7_850),
        ("cnn_cf", 503_434),
        ("cnn_cnf", 503_434),
        ("cnn_cpcpff", 3_274_634),
        ("cnn_cpcpfdf", 3_274_634),
        ("cnn_cpncpnff", 3_274_634),
        ("cnn_cpncpnfdf", 3_274_634),
        ("lenet5", 61_706),
    ] {
        let model = cnn::by_name(name, &mut init(), [1, 28, 28], 10).unwrap();
        assert_eq!(model.count_parameters(), count, "{name}");
    }
}

#[test]
fn residual_networks_have_torchvisions_counts_and_names() {
    for (depth, count, entries) in [(18, 11_689_512, 122), (34, 21_797_672, 218), (50, 25_557_032, 320)] {
        let model = ResNet::imagenet(&mut init(), depth, 1000).unwrap();
        assert_eq!(model.count_parameters(), count, "ResNet-{depth}");
        // torchvision: len(resnet18().state_dict()) and so on.
        assert_eq!(model.state().len(), entries, "ResNet-{depth}");
    }
    let names: Vec<String> =
        ResNet::imagenet(&mut init(), 18, 10).unwrap().state().into_iter().map(|(n, s)| format!("{n} {s}")).collect();
    for name in [
        "conv1.weight [64, 3, 7, 7]",
        "bn1.running_var [64]",
        "layer1.1.bn2.num_batches_tracked []",
        "layer2.0.conv1.weight [128, 64, 3, 3]",
        "layer2.0.downsample.0.weight [128, 64, 1, 1]",
        "layer2.0.downsample.1.running_mean [128]",
        "layer4.1.conv2.weight [512, 512, 3, 3]",
        "fc.bias [10]",
    ] {
        assert!(names.iter().any(|n| n == name), "no {name}");
    }
    for (depth, count) in [(20, 269_722), (56, 853_018)] {
        for shortcut in [Shortcut::Padded, Shortcut::None] {
            let model = ResNet::small(&mut init(), depth, shortcut, 3, 10).unwrap();
            assert_eq!(model.count_parameters(), count);
        }
    }
    assert!(ResNet::small(&mut init(), 21, Shortcut::None, 3, 10).is_err());
    let model = ResNet::imagenet(&mut init(), 50, 10).unwrap();
    let x = Tensor::zeros(&CPU, [1, 3, 224, 224]);
    assert_eq!(model.forward(&x, &mut Pass::eval()).shape()[..], [1, 10]);
}

#[test]
fn alexnet_has_sixty_million_parameters() {
    let model = AlexNet::new(&mut init(), 1000).unwrap();
    assert_eq!(model.count_parameters(), 60_965_224);
    let x = Tensor::zeros(&CPU, [1, 3, 224, 224]);
    assert_eq!(model.features.forward(&x, &mut Pass::eval()).shape()[..], [1, 256, 6, 6]);
    let model = AlexNet::torchvision(&mut init(), 1000).unwrap();
    assert_eq!(model.count_parameters(), 61_100_840);
    let names: Vec<String> =
        model.named_parameters().into_iter().map(|(n, _)| n).filter(|n| n.contains("weight")).collect();
    let convolutions = [0, 3, 6, 8, 10].map(|k| format!("features.{k}.weight"));
    let linear = [1, 4, 6].map(|k| format!("classifier.{k}.weight"));
    assert_eq!(names, [&convolutions[..], &linear[..]].concat());
}

/// Table 1 of Szegedy et al.: stage, height, channels, thousands (of 1024) of parameters, millions of multiply-adds.
const GOOGLENET: &[(&str, usize, usize, f64, f64)] = &[
    ("conv2", 56, 192, 112., 360.),
    ("3a", 28, 256, 159., 128.),
    ("3b", 28, 480, 380., 304.),
    ("4a", 14, 512, 364., 73.),
    ("4b", 14, 512, 437., 88.),
    ("4c", 14, 512, 463., 100.),
    ("4d", 14, 528, 580., 119.),
    ("4e", 14, 832, 840., 170.),
    ("5a", 7, 832, 1072., 54.),
    ("5b", 7, 1024, 1388., 71.),
    ("fc", 1, 1000, 1000., 1.),
];

#[test]
fn googlenet_is_the_published_table() {
    let model = GoogLeNet::new(&mut init(), 1000).unwrap();
    let x = Tensor::zeros(&CPU, [1, 3, 224, 224]);
    let stages = model.stages(&x, &mut Pass::eval());
    let shape_of =
        |name: &str| stages.iter().find(|s| s.0 == name).unwrap_or_else(|| panic!("no {name}")).1.shape().to_vec();
    for (name, size, channels) in [
        ("conv1", 112, 64),
        ("pool1", 56, 64),
        ("pool2", 28, 192),
        ("pool3", 14, 480),
        ("pool4", 7, 832),
        ("mean", 1, 1024),
    ] {
        assert_eq!(shape_of(name), [1, channels, size, size], "{name}");
    }
    for &(name, size, channels, thousands, millions) in GOOGLENET {
        let layers: Vec<String> = match name {
            "conv2" => vec!["conv2.".into(), "conv3.".into()],
            "fc" => vec!["fc.".into()],
            module => vec![format!("inception{module}.")],
        };
        let (mut parameters, mut weights) = (0, 0);
        for (key, param) in model.named_parameters() {
            if layers.iter().any(|l| key.starts_with(l)) {
                parameters += param.get().elements();
                weights += if param.get().rank() > 1 { param.get().elements() } else { 0 };
            }
        }
        let shape = shape_of(name);
        assert_eq!(shape[1], channels, "{name}");
        assert!(shape.len() == 2 || shape[2..] == [size, size], "{name}: {shape:?}");
        // The table rounds, and some of its numbers are not those of its own widths: the parameters of 4c are 7 % off.
        let near = |got: f64, want: f64| (got - want).abs() <= 0.08 * want + 0.5;
        assert!(near(parameters as f64 / 1024., thousands), "{name}: {parameters} parameters");
        assert!(
            near((weights * size * size) as f64 / 1e6, millions),
            "{name}: {} multiply-adds",
            weights * size * size
        );
    }
    // The count that every reimplementation with biases has: without the auxiliary classifiers, and of each of those.
    let count = |prefix: &str| -> usize {
        let own = model.named_parameters();
        own.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, p)| p.get().elements()).sum()
    };
    assert_eq!(model.count_parameters() - count("aux"), 6_998_552);
    assert_eq!((count("aux1"), count("aux2")), (3_188_840, 3_190_888));
    let (_, auxiliary) = model.forward_with_auxiliary(&x, &mut Pass::train(0));
    assert!(auxiliary.unwrap().iter().all(|a| a.shape()[..] == [1, 1000]));
}

/// `fixtures/cnn_curve.py` has the losses of PyTorch, in double precision, for these weights, pictures and labels.
#[test]
fn twenty_steps_are_those_of_pytorch() {
    let fixture: serde_json::Value = serde_json::from_str(include_str!("../fixtures/cnn_curve.json")).unwrap();
    let curve = fixture["losses"].as_array().unwrap();
    assert_eq!(curve.len(), 20);
    for (device, tolerance) in [(Device::reference(), 1e-6), (Device::cpu(), 1e-4)] {
        let none = &mut Init::new(&device, 1).scheme(Scheme::Zeros);
        let mut model = cnn::by_name("cnn_cpcpff", none, [1, 12, 12], 10).unwrap();
        let state: Vec<_> = model.state().into_iter().map(|(name, shape)| (name, shape.to_vec())).collect();
        assert_eq!(serde_json::json!(state), fixture["parameters"]);
        let mut seed = 100;
        model.params_mut(&mut |_, param| {
            let shape = param.get().shape().clone();
            let fan_in = if shape.rank() > 1 { shape.elements() / shape[0] } else { 100 };
            let values = numbers(shape.elements(), seed, (fan_in as f32).powf(-0.5));
            param.set(Tensor::from_slice(&device, &values, shape).unwrap()).unwrap();
            seed += 1;
        });
        let (mut adam, mut pass) = (Adam::new(1e-3), Pass::train(0));
        for (step, expected) in curve.iter().enumerate() {
            let turn = step as u32 % 4;
            let pixels: Vec<f32> = numbers(4 * 144, 1000 + turn, 0.5).iter().map(|v| v + 0.5).collect();
            let x = Tensor::from_slice(&device, &pixels, [4, 1, 12, 12]).unwrap();
            let labels: Vec<u32> = (0..4).map(|k| (turn + 3 * k) % 10).collect();
            let loss = model.forward(&x, &mut pass).cross_entropy(&Tensor::from_slice(&device, &labels, 4).unwrap());
            adam.step(&mut model, &loss).unwrap();
            let (got, expected) = (f64::from(loss.item().unwrap()), expected.as_f64().unwrap());
            let off = (got / expected - 1.0).abs();
            assert!(off <= tolerance, "step {step} on {device}: {got}, PyTorch {expected}, off by {off:e}");
        }
    }
}

/// Pictures of noise with three labels.
fn noise(shape: [usize; 3]) -> Images {
    let size = shape.iter().product::<usize>();
    Images { pixels: numbers(20 * size, 9, 1.0), labels: (0..20).map(|i| i % 3).collect(), shape, classes: 3 }
}

#[test]
fn the_gpu_trains_as_the_cpu_path_does() {
    for (name, shape) in [
        ("lr", [1, 12, 12]),
        ("cnn_cf", [1, 12, 12]),
        ("cnn_cnf", [2, 12, 12]),
        ("cnn_cpcpfdf", [1, 12, 12]),
        ("cnn_cpncpnfdf", [1, 12, 12]),
        ("lenet5", [1, 28, 28]),
    ] {
        let set = noise(shape);
        same_losses(20, 1e-4, |device| {
            let model = cnn::by_name(name, &mut Init::new(device, 3), shape, 3).unwrap();
            Supervised::classifier(model, Box::new(Adam::new(1e-4)), &set, 4, 3).unwrap()
        });
    }
    let set = noise([3, 8, 8]);
    for shortcut in [Shortcut::Padded, Shortcut::None] {
        same_losses(20, 1e-4, |device| {
            let model = ResNet::small(&mut Init::new(device, 3), 8, shortcut, 3, 3).unwrap();
            let sgd = Box::new(Sgd::new(1e-3).momentum(0.9));
            let task = Supervised::classifier(model, sgd, &set, 6, 3).unwrap();
            task.augment(RandomCrop { padding: 2 }).augment(RandomHorizontalFlip { p: 0.5 })
        });
    }
}

/// A few steps on eight pictures: the loss falls, in residual networks of both kinds and on any device alike.
#[test]
fn a_residual_network_learns() {
    let losses = |device: &Device| -> Vec<f32> {
        let init = &mut Init::new(device, 3);
        let mut model = ResNet::small(init, 8, Shortcut::Padded, 3, 4).unwrap();
        let values: Vec<f32> = (0..8 * 3 * 8 * 8).map(|i| ((i * i) as f32 * 0.013).sin()).collect();
        let x = Tensor::from_slice(device, &values, [8, 3, 8, 8]).unwrap();
        let labels = Tensor::from_slice(device, &[0u32, 1, 2, 3, 0, 1, 2, 3], 8).unwrap();
        let mut sgd = Sgd::new(0.05).momentum(0.9);
        let mut pass = Pass::train(0);
        let mut step = || {
            let loss = model.forward(&x, &mut pass).cross_entropy(&labels);
            sgd.step(&mut model, &loss).unwrap();
            loss.item().unwrap()
        };
        (0..6).map(|_| step()).collect()
    };
    let (cpu, gpu) = (losses(&Device::cpu()), losses(&crate::registry::under_test()));
    assert!(cpu[5] < 0.6 * cpu[0], "{cpu:?}");
    for (step, (c, g)) in cpu.iter().zip(&gpu).enumerate() {
        assert!((c - g).abs() < 1e-3 * c, "step {step}: {c} on the CPU path, {g} on the adapter under test");
    }
}

/// One kernel each way for each normalisation, statistics included: the launches of a step grow by a fixed number for
/// each block, and after the first step nothing is made.
#[test]
fn a_step_of_a_residual_network_is_one_submission_of_few_launches() {
    let device = crate::registry::under_test();
    let step_of = |depth: usize| {
        let mut model = ResNet::small(&mut Init::new(&device, 3), depth, Shortcut::Padded, 3, 4).unwrap();
        let x = Tensor::from_slice(&device, &[0.5f32; 2 * 3 * 8 * 8], [2, 3, 8, 8]).unwrap();
        let labels = Tensor::from_slice(&device, &[0u32, 1], 2).unwrap();
        let (mut sgd, mut pass) = (Sgd::new(0.05).momentum(0.9), Pass::train(0));
        let mut last = device.counters();
        for step in 0..3 {
            let before = device.counters();
            let loss = model.forward(&x, &mut pass).cross_entropy(&labels);
            sgd.step(&mut model, &loss).unwrap();
            last = device.counters().since(&before);
            if step > 0 {
                assert_eq!(
                    (last.plans, last.pipelines, last.bind_groups, last.buffers, last.submissions),
                    (0, 0, 0, 0, 1)
                );
            }
        }
        last.dispatches
    };
    let (eight, fourteen) = (step_of(8), step_of(14));
    println!("{eight} launches for 8 layers, {fourteen} for 14");
    assert!(fourteen - eight <= 6 * 10, "{eight} launches for 8 layers, {fourteen} for 14");
}
