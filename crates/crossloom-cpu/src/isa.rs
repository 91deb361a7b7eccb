//! Which instruction set kernels run on: the widest that the machine has, or the one that `CROSSLOOM_ISA` names.

use std::sync::OnceLock;

use crate::amx;

/// An instruction set that kernels are compiled for. Results differ in their last bits between them, and only between
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Plain code, without fused multiplication and addition.
    Plain,
    /// NEON, on every 64-bit ARM.
    Neon,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 (F, BW, CD, DQ, VL).
    Avx512,
    /// AVX-512 with products of `bf16` pairs.
    Avx512Bf16,
    /// The same with tiles of `bf16` pairs.
    Amx,
}

/// `CROSSLOOM_ISA` asks for what cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// No instruction set has that name.
    #[error("CROSSLOOM_ISA is `{0}`, which is no instruction set; it can be {known} or unset", known = names(Isa::ALL))]
    Unknown(String),
    /// The machine does not have it.
    #[error("CROSSLOOM_ISA is `{}`, which this machine cannot run; it has {}", .0.name(), names(&Isa::available()))]
    Missing(Isa),
}

/// Names in a row, for messages.
fn names(isas: &[Isa]) -> String {
    isas.iter().map(|isa| format!("`{}`", isa.name())).collect::<Vec<_>>().join(", ")
}

impl Isa {
    /// All of them, narrowest first.
    pub const ALL: &'static [Self] =
        &[Self::Plain, Self::Neon, Self::Avx2, Self::Avx512, Self::Avx512Bf16, Self::Amx];

    /// The name in `CROSSLOOM_ISA` and in run records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Amx => "amx",
        }
    }

    /// Those that this machine has, narrowest first.
    pub fn available() -> Vec<Self> {
        Self::ALL.iter().copied().filter(|isa| isa.arch().is_some()).collect()
    }

    /// What `pulp` dispatches on; none where the machine lacks it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn arch(self) -> Option<pulp::Arch> {
        let wide = || pulp::x86::V4::try_new().map(pulp::Arch::V4);
        let pairs = || wide().filter(|_| std::arch::is_x86_feature_detected!("avx512bf16"));
        match self {
            Self::Plain => Some(pulp::Arch::Scalar),
            Self::Neon => None,
            Self::Avx2 => pulp::x86::V3::try_new().map(pulp::Arch::V3),
            Self::Avx512 => wide(),
            Self::Avx512Bf16 => pairs(),
            Self::Amx => pairs().filter(|_| amx::available()),
        }
    }

    /// What `pulp` dispatches on; none where the machine lacks it.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn arch(self) -> Option<pulp::Arch> {
        match self {
            Self::Plain => Some(pulp::Arch::Scalar),
            Self::Neon => Some(pulp::Arch::new()).filter(|_| cfg!(target_arch = "aarch64")),
            Self::Avx2 | Self::Avx512 | Self::Avx512Bf16 | Self::Amx => None,
        }
    }

    /// The set a value of `CROSSLOOM_ISA` means.
    fn choose(wish: Option<&str>) -> Result<Self, IsaError> {
        let widest = || Self::available().last().copied().unwrap_or(Self::Plain);
        let Some(wish) = wish.filter(|wish| !wish.is_empty()) else { return Ok(widest()) };
        let isa = Self::ALL.iter().find(|isa| isa.name() == wish).copied();
        let isa = isa.ok_or_else(|| IsaError::Unknown(wish.to_owned()))?;
        if isa.arch().is_some() { Ok(isa) } else { Err(IsaError::Missing(isa)) }
    }
}

/// The instruction set that kernels run on, by the machine and `CROSSLOOM_ISA`, which is read once.
///
/// # Errors
/// Where `CROSSLOOM_ISA` is no name of a set, or of one that the machine lacks. A device asks before it runs anything;
/// kernels called without a device then run on plain code.
pub fn isa() -> Result<Isa, IsaError> {
    static CHOICE: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
    CHOICE
        .get_or_init(|| {
            let wish = std::env::var_os("CROSSLOOM_ISA").map(|wish| wish.to_string_lossy().into_owned());
            Isa::choose(wish.as_deref())
        })
        .clone()
}

#[cfg(test)]
thread_local! {
    /// The set that a test forces on the threads of its pool.
    pub(crate) static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// The set to run on, and what `pulp` dispatches on.
#[inline]
pub(crate) fn current() -> (Isa, pulp::Arch) {
    #[cfg(test)]
    if let Some(isa) = FORCED.get() {
        return (isa, isa.arch().unwrap_or(pulp::Arch::Scalar));
    }
    static CURRENT: OnceLock<(Isa, pulp::Arch)> = OnceLock::new();
    *CURRENT.get_or_init(|| {
        let isa = isa().unwrap_or(Isa::Plain);
        (isa, isa.arch().unwrap_or(pulp::Arch::Scalar))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_granted_or_refused() {
        assert_eq!(Isa::choose(Some("plain")), Ok(Isa::Plain));
        assert_eq!(Isa::choose(None), Isa::choose(Some("")));
        let unknown = Isa::choose(Some("avx3")).map_err(|e| e.to_string());
        assert_eq!(
            unknown,
            Err("CROSSLOOM_ISA is `avx3`, which is no instruction set; it can be `plain`, `neon`, `avx2`, `avx512`, \
                 `avx512bf16`, `amx` or unset"
                .to_owned())
        );
        for isa in Isa::ALL {
            let granted = Isa::choose(Some(isa.name()));
            if Isa::available().contains(isa) {
                assert_eq!(granted, Ok(*isa));
            } else {
                assert_eq!(granted, Err(IsaError::Missing(*isa)));
            }
        }
    }
}
