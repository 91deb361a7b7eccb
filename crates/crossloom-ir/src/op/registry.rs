//! The registry macro: from a list of op types to the [`Op`](super::Op) enum and its dispatch.

/// Declares the enum of all ops, conversions from each op type, and the dispatch of [`OpSpec`](super::OpSpec).
macro_rules! registry {
    ($($module:ident :: $ty:ident),* $(,)?) => {
        $(pub use $module::$ty;)*

        /// Any op, with its attributes.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($ty), "`].")] $ty($ty),)*
        }

        $(impl From<$ty> for Op {
            fn from(op: $ty) -> Self {
                Self::$ty(op)
            }
        })*

        impl Op {
            /// Reads an op from its mnemonic and attributes.
            ///
            /// # Errors
            /// Unknown mnemonic; missing, mistyped or unknown attributes.
            pub fn from_text(mnemonic: &str, attrs: $crate::attrs::Attrs) -> Result<Self, String> {
                $(if <$ty>::MNEMONICS.contains(&mnemonic) {
                    let mut attrs = attrs;
                    let op = <$ty>::from_attrs(mnemonic, &mut attrs)?;
                    attrs.finish()?;
                    return Ok(op.into());
                })*
                Err(format!("there is no op `{mnemonic}`"))
            }

            /// Every mnemonic of every op, in registry order.
            pub fn mnemonics() -> Vec<&'static str> {
                let all: &[&[&'static str]] = &[$(<$ty>::MNEMONICS),*];
                all.concat()
            }

            /// The name in the text form.
            pub fn mnemonic(&self) -> &'static str {
                match self { $(Self::$ty(op) => op.mnemonic(),)* }
            }

            /// The attributes in the text form.
            pub fn attrs(&self) -> $crate::attrs::Attrs {
                match self { $(Self::$ty(op) => op.attrs(),)* }
            }

            /// The op's own rule, for operands whose floats are `f32`; see [`OpSpec::infer`].
            fn rule(&self, inputs: &[&$crate::TensorType]) -> Result<Vec<$crate::TensorType>, String> {
                match self { $(Self::$ty(op) => op.infer(inputs),)* }
            }

            /// Whether it only moves data, see [`OpSpec::moves`].
            pub fn moves(&self) -> bool {
                match self { $(Self::$ty(op) => op.moves(),)* }
            }

            /// Whether that operand may be quantized, see [`OpSpec::dequantizes`].
            pub fn dequantizes(&self, operand: usize) -> bool {
                match self { $(Self::$ty(op) => op.dequantizes(operand),)* }
            }

            /// The reference semantics, see [`OpSpec::eval`].
            ///
            /// # Errors
            /// Operand contents the op does not accept, such as an id outside a table.
            pub fn eval<T: $crate::Real>(
                &self,
                inputs: &[&$crate::Tensor<T>],
            ) -> Result<Vec<$crate::Tensor<T>>, String> {
                match self { $(Self::$ty(op) => op.eval(inputs),)* }
            }

            /// The gradient rule, see [`OpSpec::gradient`].
            ///
            /// # Errors
            /// The op has none, or a type rule failed.
            pub fn gradient(&self, cx: &mut $crate::grad::GradCx<'_>) -> Result<(), $crate::IrError> {
                match self { $(Self::$ty(op) => op.gradient(cx),)* }
            }

            /// The definition in simpler ops, see [`OpSpec::expand`].
            ///
            /// # Errors
            /// A type rule failed.
            pub fn expand(
                &self,
                b: &mut $crate::Builder<'_>,
                inputs: &[$crate::Value],
            ) -> Result<Option<Vec<$crate::Value>>, $crate::IrError> {
                match self { $(Self::$ty(op) => op.expand(b, inputs),)* }
            }

            /// Operations and traffic, see [`OpSpec::cost`].
            pub fn cost(&self, inputs: &[&$crate::TensorType], outputs: &[&$crate::TensorType]) -> $crate::Cost {
                match self { $(Self::$ty(op) => op.cost(inputs, outputs),)* }
            }

            /// Pairs (input, output) that may share memory, see [`OpSpec::in_place`].
            pub fn in_place(&self) -> Vec<(usize, usize)> {
                match self { $(Self::$ty(op) => op.in_place(),)* }
            }
        }
    };
}
