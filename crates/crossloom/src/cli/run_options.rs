//! Arguments that the verbs share which make a run or use one.

use bytesize::ByteSize;
use crossloom_recipe::LoadedRecipe;
use crossloom_run::backends::Resources;
use crossloom_run::{Entry, ExperimentError, PictureBudget, located, resolved, settled};
use crossloom_train::run_dir::RunDir;

use super::{BackendArgs, CliError, RecipeArgs, RunsArgs, Terminal, VariantArgs};

/// Which run: a recipe, its variants, where its runs lie; and how many threads compute.
#[derive(Debug, Clone, clap::Args)]
pub struct SubjectArgs {
    /// The recipe with its overrides.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// One of its variants, or all.
    #[command(flatten)]
    pub variant: VariantArgs,
    /// The folder of all runs.
    #[command(flatten)]
    pub runs: RunsArgs,
    /// What it runs on.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// The threads.
    #[command(flatten)]
    pub threads: ThreadArgs,
}

impl SubjectArgs {
    /// The recipe; where a run's folder was given in its place, the one that lies in it, with the run. From here on the process
    /// has the threads that were asked for: they cannot be changed once something computes, and weights are hashed while a recipe is
    /// read.
    ///
    /// # Errors
    /// Everything that is wrong with the recipe or with the folder; the system does not give so many threads.
    pub fn load(&self, terminal: &Terminal) -> Result<(LoadedRecipe, Option<RunDir>), CliError> {
        self.read(terminal, settled, resolved::load)
    }

    /// The same where the run is only asked: what it keeps itself is not looked for elsewhere.
    ///
    /// # Errors
    /// As [`SubjectArgs::load`].
    pub fn to_ask(&self, terminal: &Terminal) -> Result<(LoadedRecipe, Option<RunDir>), CliError> {
        self.read(terminal, settled, resolved::to_ask)
    }

    /// The same of a recipe of which nothing runs: of its weights and its data nothing is read.
    ///
    /// # Errors
    /// As [`SubjectArgs::load`].
    pub fn look_at(&self, terminal: &Terminal) -> Result<(LoadedRecipe, Option<RunDir>), CliError> {
        self.read(terminal, located, resolved::load)
    }

    fn read(
        &self,
        terminal: &Terminal,
        of_recipe: fn(LoadedRecipe) -> Result<LoadedRecipe, ExperimentError>,
        of_run: fn(&RunDir, &[String]) -> Result<LoadedRecipe, ExperimentError>,
    ) -> Result<(LoadedRecipe, Option<RunDir>), CliError> {
        self.threads.apply()?;
        let path = &self.recipe.recipe;
        if !path.is_dir() {
            return Ok((of_recipe(self.recipe.load(terminal)?)?, None));
        }
        let run = RunDir::open(path).map_err(|_| {
            CliError::usage(
                format!("`{}` is no run: it holds no run.json", path.display()),
                "give a recipe, or the folder of a run; `crossloom runs ls` lists runs",
            )
        })?;
        Ok((of_run(&run, &self.recipe.sets)?, Some(run)))
    }
}

/// What becomes of a run that is there already. Without either it is left alone, and that is an error.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct EntryArgs {
    /// Continue a run of this recipe that is there already. Settings for logging, checkpoints and scoring may differ.
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// Throw away a run of this recipe that is there already; with `--variant`, that variant alone.
    #[arg(long)]
    pub force: bool,
}

impl From<EntryArgs> for Entry {
    fn from(args: EntryArgs) -> Self {
        match args {
            EntryArgs { resume: true, .. } => Self::Resume,
            EntryArgs { force: true, .. } => Self::Replace,
            _ => Self::New,
        }
    }
}

/// What a recipe runs on.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ResourceArgs {
    /// The backend.
    #[command(flatten)]
    pub backend: BackendArgs,
    /// Go on although the memory is known not to suffice.
    #[arg(long)]
    pub force_memory: bool,
    /// The most memory that the process may take, such as 2GiB. A training step that needs more computes values of its forward
    /// pass again, which takes longer and changes no number. Default: what the machine gives.
    #[arg(long, value_name = "SIZE")]
    pub budget: Option<ByteSize>,
    /// Positions of a prompt that are read at once when questions are answered: fewer need less memory and give the same
    /// answers. Default: all.
    #[arg(long, value_name = "POSITIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub prefill_chunk: Option<u32>,
    /// Memory for encoded pictures, such as 512MiB: each is encoded once while it is held. Default: 1GiB where training reads
    /// them, as no step changes the vision encoder; else 64MiB.
    #[arg(long, value_name = "SIZE")]
    pub picture_memory: Option<ByteSize>,
    /// Disk for encoded pictures that training reads and memory does not hold, of all runs together, in the data cache.
    /// Default: 16GiB.
    #[arg(long, value_name = "SIZE")]
    pub picture_disk: Option<ByteSize>,
}

impl From<ResourceArgs> for Resources {
    fn from(args: ResourceArgs) -> Self {
        let chunk = args.prefill_chunk.map(|positions| positions as usize);
        let [memory, disk] =
            [args.picture_memory, args.picture_disk].map(|size| size.map(|size| size.as_u64()));
        Self {
            backend: args.backend.backend,
            force_memory: args.force_memory,
            budget: args.budget.map(|size| size.as_u64()),
            chunk,
            pictures: PictureBudget { memory, disk },
        }
    }
}

/// How many threads compute.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ThreadArgs {
    /// Threads that compute; results do not depend on it. Default: one per processor.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl ThreadArgs {
    /// Makes it so, for the whole process; nothing may have computed before.
    ///
    /// # Errors
    /// The system does not give so many threads.
    pub(super) fn apply(self) -> Result<(), CliError> {
        let Some(threads) = self.threads else { return Ok(()) };
        rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(threads))
            .build_global()
            .map_err(|error| CliError::failed(format!("cannot start {threads} threads: {error}")))
    }
}
