//! What a step of a plan becomes: launches of kernels, each with its source.

use crossloom_compiler::Kernel;

use crate::Geometry;
use crate::product::Multiply;

impl Geometry {
    /// So many blocks of so many threads along x. `None` if there are more blocks than a launch can have.
    pub(crate) fn line(blocks: usize, threads: u32) -> Option<Self> {
        let blocks = u32::try_from(blocks).ok().filter(|&blocks| i32::try_from(blocks).is_ok())?;
        Some(Self { grid: [blocks, 1, 1], block: [threads, 1, 1], shared: 0 })
    }

    /// The same with shared memory.
    #[must_use]
    pub(crate) fn with_shared(self, shared: usize) -> Self {
        Self { shared: shared as u32, ..self }
    }
}

/// What a kernel gets. Every argument is an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// An operand of the step.
    Input(usize),
    /// A result of the step.
    Output(usize),
    /// The step's working memory from that byte on.
    Scratch(usize),
    /// The addresses of the launch's table, one behind the other, in memory of their own.
    Table,
    /// A word of 8 bytes that is all ones unless a step before this one refused its operands; then the kernel does nothing.
    Stop,
    /// A word of 8 bytes, all ones, into which a kernel writes the smallest position (upper half) at which an operand holds a
    /// number that the op does not take, and that number (lower half).
    Fault,
}

/// One launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Name of the kernel: its file, and a hash of its source.
    pub kernel: String,
    /// Its source, with shapes as constants, to stand behind [`PRELUDE`](crate::PRELUDE).
    pub source: String,
    /// Its blocks and threads.
    pub geometry: Geometry,
    /// What it gets.
    pub arguments: Vec<Argument>,
    /// What [`Argument::Table`] leads to: more addresses than a launch takes as arguments. None of them is a table.
    pub table: Vec<Argument>,
}

/// The launches of a step, one after the other, or one product of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// The name under which plans and profiles show it.
    pub name: &'static str,
    /// Its launches; none if it is a product of the library.
    pub launches: Vec<Launch>,
    /// The product of the library that it is.
    pub product: Option<Multiply>,
    /// Bytes of working memory.
    pub scratch: usize,
    /// Pairs (input, output) that may be the same memory.
    pub in_place: Vec<(usize, usize)>,
}

impl Lowered {
    /// What the planner needs to know of it.
    pub(crate) fn told(&self) -> Kernel {
        let optional = Vec::new();
        Kernel {
            name: self.name.to_owned(),
            scratch: self.scratch,
            in_place: self.in_place.clone(),
            optional,
        }
    }

    pub(crate) fn new(name: &'static str, launches: Vec<Launch>) -> Self {
        Self { name, launches, product: None, scratch: 0, in_place: Vec::new() }
    }

    pub(crate) fn product(name: &'static str, product: Multiply) -> Self {
        Self { product: Some(product), ..Self::new(name, Vec::new()) }
    }

    #[must_use]
    pub(crate) fn with_scratch(self, scratch: usize) -> Self {
        Self { scratch, ..self }
    }

    #[must_use]
    pub(crate) fn in_place(self, in_place: Vec<(usize, usize)>) -> Self {
        Self { in_place, ..self }
    }
}

/// The source of a kernel that is being written: constants, then text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    defines: Vec<(&'static str, String)>,
    table: Vec<Argument>,
}

impl Source {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A constant of the kernel.
    #[allow(clippy::needless_pass_by_value, reason = "numbers and texts are given as they are")]
    #[must_use]
    pub(crate) fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.defines.push((name, value.to_string()));
        self
    }

    /// One constant per entry of an array.
    #[must_use]
    pub(crate) fn list(self, name: &'static str, values: impl IntoIterator<Item = impl ToString>) -> Self {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        self.set(name, values.join(", "))
    }

    /// The addresses of the launch's table.
    #[must_use]
    pub(crate) fn table(self, table: Vec<Argument>) -> Self {
        Self { table, ..self }
    }

    /// A number as the kernel's compiler reads it.
    #[must_use]
    pub(crate) fn float(self, name: &'static str, value: f64) -> Self {
        self.set(name, literal(value))
    }

    /// A launch of the text, in which the kernel is called `KERNEL`. The kernel gets one argument more, before all others: see
    /// [`Argument::Stop`].
    pub(crate) fn launch(
        self,
        file: &str,
        text: &str,
        geometry: Geometry,
        mut arguments: Vec<Argument>,
    ) -> Launch {
        // Whoever reports passes on what was reported before, so that the last word tells of all of them.
        let reports = arguments.contains(&Argument::Fault);
        let passed = if reports { "if (blockIdx.x == 0 && threadIdx.x == 0) *fault = *stop; " } else { "" };
        let guard = format!(") {{\n  if (*stop != NOTHING) {{ {passed}return; }}\n");
        let text = match text.split_once(" KERNEL(") {
            Some((before, after)) => {
                format!("{before} KERNEL(const u64* stop, {}", after.replacen(") {\n", &guard, 1))
            }
            None => text.to_owned(),
        };
        arguments.insert(0, Argument::Stop);
        let mut body = String::new();
        for (name, value) in &self.defines {
            body.push_str(&format!("#define {name} {value}\n"));
        }
        body.push_str(&text);
        for (name, _) in &self.defines {
            body.push_str(&format!("#undef {name}\n"));
        }
        let hash = blake3::hash(body.as_bytes()).to_hex();
        let kernel = format!("{file}_{}", &hash.as_str()[..12]);
        let source = body.replace("KERNEL", &kernel);
        Launch { kernel, source, geometry, arguments, table: self.table }
    }
}

/// A number as a constant of type `float`.
pub(crate) fn literal(value: f64) -> String {
    let value = value as f32;
    if value.is_finite() { format!("{value:e}f") } else { format!("bits_float({:#x}u)", value.to_bits()) }
}
