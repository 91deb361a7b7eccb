//! What a step of a plan becomes: launches of kernels, each with its source.

use crossloom_compiler::Kernel;
use crossloom_ir::{DType, TensorType};

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
    /// An operand from that byte on.
    InputFrom(usize, usize),
    /// A result from that byte on.
    OutputFrom(usize, usize),
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

/// What a step starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A kernel.
    Launch(Launch),
    /// A product of the library.
    Product(Multiply),
}

/// What a step becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// The name under which plans and profiles show it.
    pub name: &'static str,
    /// What it starts, one after the other.
    pub work: Vec<Work>,
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
        Self::of(name, launches.into_iter().map(Work::Launch).collect())
    }

    pub(crate) fn of(name: &'static str, work: Vec<Work>) -> Self {
        Self { name, work, scratch: 0, in_place: Vec::new() }
    }

    /// The kernels that it starts.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.work.iter().filter_map(|work| match work {
            Work::Launch(launch) => Some(launch),
            Work::Product(_) => None,
        })
    }

    /// The products of the library that it starts.
    pub fn products(&self) -> impl Iterator<Item = &Multiply> {
        self.work.iter().filter_map(|work| match work {
            Work::Launch(_) => None,
            Work::Product(product) => Some(product),
        })
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

/// The types of an op's operands and results.
#[derive(Clone, Copy)]
pub(crate) struct Types<'t> {
    pub(crate) inputs: &'t [&'t TensorType],
    pub(crate) outputs: &'t [&'t TensorType],
}

impl<'t> Types<'t> {
    /// A kernel's source, whose arguments are these operands and results.
    pub(crate) fn source(self) -> Source<'t> {
        Source { types: self, defines: Vec::new(), table: Vec::new() }
    }

    /// The type of an argument's elements, where it is an operand or a result.
    pub(crate) fn of(self, argument: Argument) -> Option<DType> {
        let ty = match argument {
            Argument::Input(i) | Argument::InputFrom(i, _) => self.inputs.get(i),
            Argument::Output(o) | Argument::OutputFrom(o, _) => self.outputs.get(o),
            _ => None,
        };
        ty.map(|ty| ty.dtype)
    }
}

/// What stands for an operand that a kernel takes in some of its forms and does not read in this one.
pub(crate) const ABSENT: Argument = Argument::Stop;

/// A type in CUDA C or in common.cuh.
pub(crate) fn element(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::Bf16 => "Bf16",
        DType::F16 => "F16",
        DType::I32 => "int",
        DType::U8 => "u8",
        DType::Q8_0 => "Q8_0",
        DType::Q4_0 => "Q4_0",
        DType::Q4_1 => "Q4_1",
        DType::Q4K => "Q4K",
        DType::Q6K => "Q6K",
    }
}

/// The source of a kernel that is being written: constants, then text.
///
/// The text's parameters are pointers. One to `NAME_t` takes elements of whatever type the argument has; one to a type, such as
/// `float`, an argument of that type alone.
#[derive(Clone)]
pub(crate) struct Source<'t> {
    types: Types<'t>,
    defines: Vec<(String, String)>,
    table: Vec<Argument>,
}

impl Source<'_> {
    /// A constant of the kernel.
    #[allow(clippy::needless_pass_by_value, reason = "numbers and texts are given as they are")]
    #[must_use]
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.defines.push((name.to_owned(), value.to_string()));
        self
    }

    /// Constants that are whole numbers.
    #[must_use]
    pub(crate) fn sets<const N: usize>(self, constants: [(&str, usize); N]) -> Self {
        constants.into_iter().fold(self, |source, (name, value)| source.set(name, value))
    }

    /// A condition of the kernel.
    #[must_use]
    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.set(name, u8::from(value))
    }

    /// One constant per entry of an array.
    #[must_use]
    pub(crate) fn list(self, name: &str, values: impl IntoIterator<Item = impl ToString>) -> Self {
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
    pub(crate) fn float(self, name: &str, value: f64) -> Self {
        self.set(name, literal(value))
    }

    /// A launch of the text, in which the kernel is called `KERNEL`. The kernel gets one argument more, before all others: see
    /// [`Argument::Stop`]. `None` where an argument is of a type that the text does not take.
    pub(crate) fn launch(
        mut self,
        file: &str,
        text: &str,
        geometry: Geometry,
        mut arguments: Vec<Argument>,
    ) -> Option<Launch> {
        self.set_types(text, &arguments)?;
        // Whoever reports passes on what was reported before, so that the last word tells of all of them.
        let reports = arguments.contains(&Argument::Fault);
        let passed = if reports { "if (blockIdx.x == 0 && threadIdx.x == 0) *fault = *stop; " } else { "" };
        let guard = format!(") {{\n  if (*stop != NOTHING) {{ {passed}return; }}\n");
        let (before, after) = text.split_once(" KERNEL(")?;
        let text = format!("{before} KERNEL(const u64* stop, {}", after.replacen(") {\n", &guard, 1));
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
        Some(Launch { kernel, source, geometry, arguments, table: self.table })
    }

    /// Says what the open types of the text's parameters are; `None` where a type that is not open is another one.
    fn set_types(&mut self, text: &str, arguments: &[Argument]) -> Option<()> {
        let (_, after) = text.split_once(" KERNEL(")?;
        let (parameters, _) = after.split_once(')')?;
        for (parameter, &argument) in parameters.split(',').zip(arguments) {
            let (ty, _) = parameter.split_once('*')?;
            let ty = ty.trim().trim_start_matches("const ");
            let given = self.types.of(argument).map(element);
            if !ty.ends_with("_t") {
                if given.is_some_and(|given| given != ty) {
                    return None;
                }
            } else if !self.defines.iter().any(|(name, _)| name == ty) {
                // An operand that is not read has no type; any will do.
                self.defines.push((ty.to_owned(), given.unwrap_or("float").to_owned()));
            }
        }
        Some(())
    }
}

/// A number as a constant of type `float`.
pub(crate) fn literal(value: f64) -> String {
    let value = value as f32;
    if value.is_finite() { format!("{value:e}f") } else { format!("bits_float({:#x}u)", value.to_bits()) }
}
