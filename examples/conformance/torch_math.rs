//! PyTorch's functions of elements, and ours.

use wgrad::{DType, Tensor};

use crate::call::{Call, Outputs, Row, float, one, promote, unsupported};

/// The foreign names of a function of one tensor, and ours.
pub type Simple = (&'static str, fn(&Tensor) -> Tensor);

/// Functions of one float tensor.
pub const UNARY: &[Simple] = &[
    ("exp", Tensor::exp),
    ("exp2 special.exp2", Tensor::exp2),
    ("expm1 special.expm1", Tensor::expm1),
    ("log", Tensor::ln),
    ("log2", Tensor::log2),
    ("log10", Tensor::log10),
    ("log1p special.log1p", Tensor::log1p),
    ("sqrt", Tensor::sqrt),
    ("rsqrt", Tensor::rsqrt),
    ("reciprocal", Tensor::reciprocal),
    ("sin", Tensor::sin),
    ("cos", Tensor::cos),
    ("tan", Tensor::tan),
    ("asin", Tensor::asin),
    ("acos", Tensor::acos),
    ("atan", Tensor::atan),
    ("sinh", Tensor::sinh),
    ("cosh", Tensor::cosh),
    ("tanh nn.functional.tanh", Tensor::tanh),
    ("asinh", Tensor::asinh),
    ("acosh", Tensor::acosh),
    ("atanh", Tensor::atanh),
    ("erf special.erf", Tensor::erf),
    ("erfc special.erfc", Tensor::erfc),
    ("erfinv special.erfinv", Tensor::erfinv),
    ("lgamma special.gammaln", Tensor::lgamma),
    ("digamma special.digamma special.psi", Tensor::digamma),
    ("special.entr", Tensor::entr),
    ("special.erfcx", Tensor::erfcx),
    ("special.ndtr", Tensor::ndtr),
    ("special.log_ndtr", Tensor::log_ndtr),
    ("sigmoid special.expit nn.functional.sigmoid", Tensor::sigmoid),
    ("deg2rad", Tensor::deg2rad),
    ("rad2deg", Tensor::rad2deg),
    ("sinc special.sinc", Tensor::sinc),
    ("nn.functional.logsigmoid", Tensor::logsigmoid),
    ("nn.functional.softsign", Tensor::softsign),
    ("nn.functional.tanhshrink", Tensor::tanhshrink),
];

/// Functions of one tensor of any type.
pub const OF_ANY: &[Simple] = &[
    ("abs", Tensor::abs),
    ("neg", Tensor::neg),
    ("sign", Tensor::sign),
    ("sgn", Tensor::sgn),
    ("floor", Tensor::floor),
    ("ceil", Tensor::ceil),
    ("trunc fix", Tensor::trunc),
    ("frac", Tensor::frac),
    ("square", Tensor::square),
    ("isnan", Tensor::isnan),
    ("isinf", Tensor::isinf),
    ("isfinite", Tensor::isfinite),
    ("isposinf", Tensor::isposinf),
    ("isneginf", Tensor::isneginf),
    ("signbit", Tensor::signbit),
    ("logical_not", Tensor::logical_not),
    ("positive", Tensor::positive),
    ("nn.functional.relu relu", Tensor::relu),
];

fn two(a: &Call, f: fn(&Tensor, &Tensor) -> Tensor) -> Outputs {
    let (x, y) = a.two("input", "other")?;
    one(f(&x, &y))
}

/// Functions that answer in floats whatever they get.
fn two_floats(a: &Call, f: fn(&Tensor, &Tensor) -> Tensor) -> Outputs {
    one(f(&a.ft("input")?, &a.ft("other")?))
}

/// The operands the other way round: `other op input`.
fn turned(a: &Call, f: fn(&Tensor, &Tensor) -> Tensor) -> Outputs {
    let (x, y) = a.two("input", "other")?;
    one(f(&y, &x))
}

fn scaled(x: &Tensor, alpha: f64) -> Tensor {
    match x.dtype() {
        _ if alpha == 1.0 => x.clone(),
        DType::F32 => x * alpha as f32,
        _ => x.mul(&Tensor::scalar(x.device(), alpha as i32)),
    }
}

fn divide(a: &Call) -> Outputs {
    let mode = a.s("rounding_mode", "")?;
    let (x, y) = a.two("input", "other")?;
    match &*mode {
        "" => one(float(&x).div(&float(&y))),
        "floor" => one(x.floor_divide(&y)),
        "trunc" => one(x.trunc_divide(&y)),
        other => unsupported(format!("rounding_mode {other}")),
    }
}

fn clamped(x: &Tensor, low: Option<Tensor>, high: Option<Tensor>) -> Tensor {
    let wide = [&low, &high].into_iter().flatten().fold(x.clone(), |x, bound| promote(&x, bound).0);
    let fit = |bound: Option<Tensor>| bound.map(|b| promote(&wide, &b).1);
    wide.clamp_by(fit(low).as_ref(), fit(high).as_ref())
}

/// The other functions of elements.
pub const ROWS: &[Row] = &[
    ("add", "input other alpha", |a| {
        let (x, y) = a.two("input", "other")?;
        one(x.add(&scaled(&y, a.f("alpha", 1.0)?)))
    }),
    ("sub subtract", "input other alpha", |a| {
        let (x, y) = a.two("input", "other")?;
        one(x.sub(&scaled(&y, a.f("alpha", 1.0)?)))
    }),
    ("rsub", "input other alpha", |a| {
        let (x, y) = a.two("input", "other")?;
        one(y.sub(&scaled(&x, a.f("alpha", 1.0)?)))
    }),
    ("__radd__", "input other", |a| turned(a, Tensor::add)),
    ("__rsub__", "input other", |a| turned(a, Tensor::sub)),
    ("__rmul__", "input other", |a| turned(a, Tensor::mul)),
    ("__rdiv__", "input other", |a| one(a.ft("other")?.div(&a.ft("input")?))),
    ("__rmod__", "input other", |a| turned(a, Tensor::remainder)),
    ("__rpow__", "input other", |a| turned(a, Tensor::pow)),
    ("mul multiply", "input other", |a| two(a, Tensor::mul)),
    (
        "div divide true_divide div.no_rounding_mode div.floor_rounding div.trunc_rounding",
        "input other rounding_mode",
        divide,
    ),
    ("floor_divide", "input other", |a| two(a, Tensor::floor_divide)),
    ("fmod", "input other", |a| two(a, Tensor::fmod)),
    ("remainder", "input other", |a| two(a, Tensor::remainder)),
    ("pow float_power", "input other exponent", |a| {
        let exponent = if a.has("exponent") { "exponent" } else { "other" };
        let (x, y) = a.two("input", exponent)?;
        one(x.pow(&y))
    }),
    ("atan2 arctan2", "input other", |a| two_floats(a, Tensor::atan2)),
    ("hypot", "input other", |a| two_floats(a, Tensor::hypot)),
    ("logaddexp", "input other", |a| two_floats(a, Tensor::logaddexp)),
    ("logaddexp2", "input other", |a| two_floats(a, Tensor::logaddexp2)),
    ("xlogy special.xlogy", "input other", |a| two_floats(a, Tensor::xlogy)),
    ("special.xlog1py", "input other", |a| one(a.ft("input")?.xlogy(&(&a.ft("other")? + 1.0)))),
    ("copysign", "input other", |a| two_floats(a, Tensor::copysign)),
    ("maximum", "input other", |a| two(a, Tensor::maximum)),
    ("minimum", "input other", |a| two(a, Tensor::minimum)),
    ("fmax", "input other", |a| two(a, Tensor::fmax)),
    ("fmin", "input other", |a| two(a, Tensor::fmin)),
    ("eq", "input other", |a| two(a, Tensor::equal)),
    ("ne not_equal", "input other", |a| two(a, Tensor::not_equal)),
    ("lt less", "input other", |a| two(a, Tensor::less)),
    ("le less_equal", "input other", |a| two(a, Tensor::less_equal)),
    ("gt greater", "input other", |a| two(a, Tensor::greater)),
    ("ge greater_equal", "input other", |a| two(a, Tensor::greater_equal)),
    ("logical_and", "input other", |a| two(a, Tensor::logical_and)),
    ("logical_or", "input other", |a| two(a, Tensor::logical_or)),
    ("logical_xor", "input other", |a| two(a, Tensor::logical_xor)),
    ("bitwise_and __rand__", "input other", |a| two(a, Tensor::bitwise_and)),
    ("bitwise_or __ror__", "input other", |a| two(a, Tensor::bitwise_or)),
    ("bitwise_xor __rxor__", "input other", |a| two(a, Tensor::bitwise_xor)),
    ("bitwise_not", "input", |a| one(a.t("input")?.bitwise_not())),
    // Real numbers have no other part: the angle is that of the sign.
    ("isreal", "input", |a| one(Tensor::full(a.device, a.t("input")?.shape(), 1u32).cast(DType::Bool))),
    ("angle", "input", |a| {
        let x = a.ft("input")?.detach();
        let turned = x.less(&x.zeros_like()).cast(DType::F32) * std::f32::consts::PI;
        one(Tensor::select(&x.isnan(), &x, &turned))
    }),
    ("frexp", "input", |a| Ok(<[Tensor; 2]>::from(a.ft("input")?.frexp()).to_vec())),
    ("heaviside", "input values", |a| one(a.ft("input")?.heaviside(&a.ft("values")?))),
    ("isclose", "input other rtol atol equal_nan", |a| {
        let (rtol, atol) = (a.f("rtol", 1e-5)? as f32, a.f("atol", 1e-8)? as f32);
        one(a.ft("input")?.isclose(&a.ft("other")?, rtol, atol, a.b("equal_nan", false)?))
    }),
    ("round special.round round.decimals_0 round.decimals_3 round.decimals_neg_3", "input decimals", |a| {
        let x = a.t("input")?;
        match a.i("decimals", 0)? {
            0 => one(x.round()),
            n => one(x.round_decimals(n as i32)),
        }
    }),
    ("lerp", "input end weight", |a| one(a.ft("input")?.lerp(&a.ft("end")?, &a.ft("weight")?))),
    ("addcmul", "input tensor1 tensor2 value", |a| {
        one(a.ft("input")?.addcmul(&a.ft("tensor1")?, &a.ft("tensor2")?, a.f("value", 1.0)? as f32))
    }),
    ("addcdiv", "input tensor1 tensor2 value", |a| {
        one(a.ft("input")?.addcdiv(&a.ft("tensor1")?, &a.ft("tensor2")?, a.f("value", 1.0)? as f32))
    }),
    ("logit special.logit", "input eps", |a| one(a.ft("input")?.logit(a.num("eps")?.map(|e| e as f32)))),
    ("nan_to_num", "input nan posinf neginf", |a| {
        let x = a.t("input")?;
        if x.dtype() != DType::F32 {
            return one(x);
        }
        let big = f32::MAX as f64;
        let (nan, high, low) = (a.f("nan", 0.0)?, a.f("posinf", big)?, a.f("neginf", -big)?);
        one(x.nan_to_num_with(nan as f32, high as f32, low as f32))
    }),
    ("clamp clip", "input min max", |a| one(clamped(&a.t("input")?, a.opt("min")?, a.opt("max")?))),
    ("clamp_min", "input min", |a| one(clamped(&a.t("input")?, Some(a.t("min")?), None))),
    ("clamp_max", "input max", |a| one(clamped(&a.t("input")?, None, Some(a.t("max")?)))),
    // The sample calls `input.where(condition, other)`.
    ("where", "input condition other", |a| {
        let (x, y) = a.two("input", "other")?;
        one(Tensor::select(&a.t("condition")?, &x, &y))
    }),
    ("masked_fill", "input mask value", |a| {
        let x = a.t("input")?;
        let value = a.t("value")?;
        one(Tensor::select(&a.t("mask")?, &value.cast(x.dtype()), &x))
    }),
    ("float double", "input memory_format", |a| one(a.ft("input")?)),
    ("int long", "input memory_format", |a| one(a.t("input")?.cast(DType::I32))),
    ("bool", "input memory_format", |a| one(a.t("input")?.cast(DType::Bool))),
    // ---------------------------------------------------------------------------------------------- activations
    ("nn.functional.relu6", "input inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.relu6())
    }),
    ("nn.functional.leaky_relu", "input negative_slope inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.leaky_relu(a.f("negative_slope", 0.01)? as f32))
    }),
    ("nn.functional.prelu", "input weight", |a| one(a.ft("input")?.prelu(&a.ft("weight")?))),
    ("nn.functional.elu", "input alpha inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.elu(a.f("alpha", 1.0)? as f32))
    }),
    ("nn.functional.selu", "input inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.selu())
    }),
    ("nn.functional.celu", "input alpha inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.celu(a.f("alpha", 1.0)? as f32))
    }),
    ("nn.functional.gelu", "input approximate", |a| match &*a.s("approximate", "none")? {
        "none" => one(a.ft("input")?.gelu()),
        "tanh" => one(a.ft("input")?.gelu_tanh()),
        other => unsupported(format!("approximate={other}")),
    }),
    ("nn.functional.silu", "input inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.silu())
    }),
    ("nn.functional.mish", "input inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.mish())
    }),
    ("nn.functional.hardtanh", "input min_val max_val inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.hardtanh(a.f("min_val", -1.0)? as f32, a.f("max_val", 1.0)? as f32))
    }),
    ("nn.functional.hardsigmoid", "input inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.hardsigmoid())
    }),
    ("nn.functional.hardswish", "input inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.hardswish())
    }),
    ("nn.functional.hardshrink", "input lambd", |a| one(a.ft("input")?.hardshrink(a.f("lambd", 0.5)? as f32))),
    ("nn.functional.softshrink", "input lambd", |a| one(a.ft("input")?.softshrink(a.f("lambd", 0.5)? as f32))),
    ("nn.functional.threshold", "input threshold value inplace", |a| {
        a.ignore("inplace");
        one(a.ft("input")?.threshold(a.f("threshold", 0.0)? as f32, a.f("value", 0.0)? as f32))
    }),
    ("nn.functional.softplus", "input beta threshold", |a| {
        one(a.ft("input")?.softplus(a.f("beta", 1.0)? as f32, a.f("threshold", 20.0)? as f32))
    }),
    ("nn.functional.glu", "input dim", |a| one(a.ft("input")?.glu(a.axis("dim")?.unwrap_or(-1)))),
    ("nn.functional.rrelu", "input lower upper training inplace", |a| {
        a.ignore("inplace");
        if a.b("training", false)? {
            return unsupported("random slopes");
        }
        one(a.ft("input")?.rrelu_eval(a.f("lower", 1.0 / 8.0)? as f32, a.f("upper", 1.0 / 3.0)? as f32))
    }),
    // In evaluation, or at rate 0, they are the identity.
    (
        "nn.functional.dropout nn.functional.alpha_dropout nn.functional.dropout2d nn.functional.feature_alpha_dropout",
        "input p training inplace",
        |a| {
            a.ignore("inplace");
            let p = a.f("p", 0.5)?;
            if a.b("training", true)? && p != 0.0 {
                return unsupported("random numbers");
            }
            one(a.t("input")?)
        },
    ),
];
