//! 50 steps of every optimizer beside PyTorch's in double precision (`kernels-test/fixtures/optim.py`).

use serde_json::Value as Json;
use wgrad::nn::Param;
use wgrad::optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Asgd, NAdam, Optimizer, RAdam, RmsProp, Rprop, Sgd, clip_grad_norm,
};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

pub fn fixtures() -> Json {
    serde_json::from_str(include_str!("../fixtures/optim.json")).unwrap()
}

pub fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn tensor(device: &Device, values: &[f64]) -> Tensor {
    Tensor::from_f64_slice(device, values, [values.len()]).unwrap()
}

/// The optimizer that PyTorch calls so, with its arguments.
fn build(name: &str, hyper: &Json) -> Box<dyn Optimizer> {
    let get = |key: &str| hyper.get(key).and_then(Json::as_f64);
    let flag = |key: &str| hyper.get(key).and_then(Json::as_bool).unwrap_or(false);
    let pair = |key: &str| hyper.get(key).map(|p| (p[0].as_f64().unwrap(), p[1].as_f64().unwrap()));
    let decay = get("weight_decay").unwrap_or(0.0);
    let lr = |default: f64| get("lr").unwrap_or(default);
    /// The method for each argument that is given.
    macro_rules! set {
        ($optimizer:expr, { $($key:literal => $method:ident),* } $(, flags { $($flag:literal => $flag_method:ident),* })?) => {{
            let mut o = $optimizer;
            $(if let Some(x) = get($key) { o = o.$method(x); })*
            $($(if flag($flag) { o = o.$flag_method(); })*)?
            if flag("maximize") { o = o.maximize(); }
            Box::new(o)
        }};
    }
    macro_rules! betas {
        ($optimizer:expr) => {{
            let mut o = $optimizer;
            if let Some((a, b)) = pair("betas") {
                o = o.betas(a, b);
            }
            if let Some(e) = get("eps") {
                o = o.epsilon(e);
            }
            o
        }};
    }
    match name {
        "SGD" => {
            set!(Sgd::new(lr(1e-3)), { "momentum" => momentum, "dampening" => dampening, "weight_decay" => weight_decay }, flags { "nesterov" => nesterov })
        }
        "Adagrad" => {
            set!(Adagrad::new(lr(1e-2)), { "lr_decay" => rate_decay, "initial_accumulator_value" => initial_sum, "eps" => epsilon, "weight_decay" => weight_decay })
        }
        "Adadelta" => set!(Adadelta::new(lr(1.0)), { "rho" => rho, "eps" => epsilon, "weight_decay" => weight_decay }),
        "RMSprop" => {
            set!(RmsProp::new(lr(1e-2)), { "alpha" => alpha, "eps" => epsilon, "momentum" => momentum, "weight_decay" => weight_decay }, flags { "centered" => centered })
        }
        "Adam" => set!(betas!(Adam::new(lr(1e-3))), { "weight_decay" => weight_decay }, flags { "amsgrad" => amsgrad }),
        "AdamW" => {
            set!(betas!(AdamW::new(lr(1e-3))), { "weight_decay" => weight_decay }, flags { "amsgrad" => amsgrad })
        }
        "NAdam" => {
            set!(betas!(NAdam::new(lr(2e-3))), { "momentum_decay" => momentum_decay, "weight_decay" => weight_decay }, flags { "decoupled_weight_decay" => decoupled })
        }
        "RAdam" => {
            set!(betas!(RAdam::new(lr(1e-3))), { "weight_decay" => weight_decay }, flags { "decoupled_weight_decay" => decoupled })
        }
        "Adamax" => set!(betas!(Adamax::new(lr(2e-3))), { "weight_decay" => weight_decay }),
        "ASGD" => {
            set!(Asgd::new(lr(1e-2)), { "lambd" => lambda, "alpha" => alpha, "t0" => start, "weight_decay" => weight_decay })
        }
        "Rprop" => {
            assert_eq!(decay, 0.0);
            let mut rprop = Rprop::new(lr(1e-2));
            if let Some((minus, plus)) = pair("etas") {
                rprop = rprop.factors(minus, plus);
            }
            if let Some((low, high)) = pair("step_sizes") {
                rprop = rprop.sizes(low, high);
            }
            Box::new(rprop)
        }
        _ => panic!("{name}?"),
    }
}

/// Runs 50 steps and gives the worst difference from what is wanted, relative to the largest parameter.
fn worst(device: &Device, all: &Json, mut optimizer: Box<dyn Optimizer>, want: &Json, regression: bool) -> f64 {
    let mut model: Vec<Param> = ["w0", "c0"].map(|key| Param::new(tensor(device, &numbers(&all[key]))).unwrap()).into();
    let x = tensor(device, &numbers(&all["X"])).reshape([12, 5]);
    let y = tensor(device, &numbers(&all["y"]));
    let given = numbers(&all["G"]);
    let mut worst = 0f64;
    for step in 1..=50 {
        if regression {
            let z = &x.matmul(&model[0].get().reshape([5, 1])).reshape([12]) + model[1].get();
            let loss = (&z.tanh() - &y).square().mean_all();
            optimizer.step(&mut model, &loss).unwrap();
        } else {
            let g = &given[6 * (step - 1)..6 * step];
            optimizer.step_with_gradients(&mut model, &[tensor(device, &g[..5]), tensor(device, &g[5..])]).unwrap();
        }
        if let Some(want) = want.get(step.to_string()) {
            let want = numbers(want);
            let got = model.iter().flat_map(|p| p.get().to_f64_vec().unwrap());
            let largest = want.iter().fold(0f64, |m, w| m.max(w.abs()));
            worst = got
                .zip(&want)
                .fold(worst, |m, (g, w)| if (g - w).abs() / largest > m { (g - w).abs() / largest } else { m });
            assert!(model.iter().all(|p| p.get().to_vec::<f32>().unwrap().iter().all(|x| x.is_finite())));
        }
    }
    worst
}

fn check(device: &Device, tolerance: f64) {
    let all = fixtures();
    let mut faults = Vec::new();
    for case in all["trajectories"].as_array().unwrap() {
        for problem in ["regression", "given"] {
            let optimizer = build(case["name"].as_str().unwrap(), &case["hyper"]);
            let off = worst(device, &all, optimizer, &case[problem], problem == "regression");
            if off > tolerance {
                faults.push(format!("{} {} on {problem}: off by {off:.1e}", case["name"], case["hyper"]));
            }
        }
    }
    for case in all["clipped_trajectories"].as_array().unwrap() {
        let order = case["order"].as_f64().unwrap_or(f64::INFINITY);
        let adam = Adam::new(0.02).clip_norm_of_order(case["largest"].as_f64().unwrap(), order);
        let off = worst(device, &all, Box::new(adam), &case["given"], false);
        if off > tolerance {
            faults.push(format!("Adam clipped by the norm of order {order}: off by {off:.1e}"));
        }
    }
    assert!(faults.is_empty(), "on {device}:\n{}", faults.join("\n"));
}

#[test]
fn fifty_steps_are_pytorchs_on_the_cpu_path() {
    check(&Device::cpu(), 1e-5);
}

#[test]
fn fifty_steps_are_pytorchs_on_the_gpu() {
    check(&under_test(), 1e-5);
}

#[test]
fn fifty_steps_are_pytorchs_in_double_precision() {
    // A mean divides by the number of elements in single precision, and the fixtures have nine digits.
    check(&Device::reference(), 1e-6);
}

#[test]
fn clipped_gradients_are_pytorchs() {
    for device in [under_test(), Device::cpu()] {
        for case in fixtures()["clip"].as_array().unwrap() {
            let lists = |key: &str| case[key].as_array().unwrap().iter().map(numbers).collect::<Vec<_>>();
            let before: Vec<Tensor> = lists("before").iter().map(|g| tensor(&device, g)).collect();
            let order = case["order"].as_f64().unwrap_or(f64::INFINITY);
            let (after, norm) = clip_grad_norm(&before, case["largest"].as_f64().unwrap(), order);
            let want = case["norm"].as_f64().unwrap();
            assert!((norm.item().unwrap() as f64 - want).abs() < 1e-5 * want, "{} not {want}", norm.item().unwrap());
            for (got, want) in after.iter().zip(lists("after")) {
                let got = got.to_f64_vec().unwrap();
                assert!(
                    got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-5),
                    "{got:?} not {want:?}, order {order}"
                );
            }
        }
    }
}
