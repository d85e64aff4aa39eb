//! The operators of the language: `+ - * / %` with tensors and numbers on either side, `-x`, and `& | ^ !` on truth
//! values and whole numbers.

use std::ops;

use crate::tensor::Tensor;

/// Every form of one operator: tensors owned or borrowed, and a number on either side.
macro_rules! operators {
    ($($trait:ident $method:ident),*) => { $(
        impl ops::$trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor { Tensor::$method(self, other) }
        }
        impl ops::$trait<Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor { Tensor::$method(self, &other) }
        }
        impl ops::$trait<&Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor { Tensor::$method(&self, other) }
        }
        impl ops::$trait<Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor { Tensor::$method(&self, &other) }
        }
        operators!(number f32 $trait $method);
        operators!(number i32 $trait $method);
        operators!(number u32 $trait $method);
    )* };
    (number $number:ident $trait:ident $method:ident) => {
        impl ops::$trait<$number> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $number) -> Tensor { Tensor::$method(self, &Tensor::scalar(self.device(), other)) }
        }
        impl ops::$trait<$number> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $number) -> Tensor { Tensor::$method(&self, &Tensor::scalar(self.device(), other)) }
        }
        impl ops::$trait<&Tensor> for $number {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor { Tensor::$method(&Tensor::scalar(other.device(), self), other) }
        }
        impl ops::$trait<Tensor> for $number {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor { Tensor::$method(&Tensor::scalar(other.device(), self), &other) }
        }
    };
}

operators!(Add add, Sub sub, Mul mul, Div div, Rem rem);

macro_rules! bit_operators {
    ($($trait:ident $method:ident $ours:ident),*) => { $(
        impl ops::$trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor { self.$ours(other) }
        }
    )* };
}

bit_operators!(BitAnd bitand bitwise_and, BitOr bitor bitwise_or, BitXor bitxor bitwise_xor);

impl ops::Not for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn not(self) -> Tensor {
        self.bitwise_not()
    }
}

impl ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(self)
    }
}

impl ops::Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(&self)
    }
}
