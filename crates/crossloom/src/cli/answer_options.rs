//! Arguments that the verbs share which let a model answer.

use std::path::PathBuf;

use crossloom_recipe::Precision;
use crossloom_run::backends::Resources;
use crossloom_run::engine::{Sampling, Served};
use crossloom_run::{found, sees_pictures, unfinished_stage};
use crossloom_train::run_dir::{RunDir, VariantDir};

use super::{CliError, SubjectArgs, Terminal, choice};
use crate::commands::runs::Runs;

/// Which model answers: a trained variant, what was given away of one, or a model as it was published.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// The recipe or the run.
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Answer with the recipe's pretrained weights as they are, in the chat format of their folder: nothing has to be trained.
    #[arg(long)]
    pub untrained: bool,
    /// In which type keys and values are kept between tokens: half the memory in bf16. Default: what the recipe says, eval.cache.
    #[arg(long, value_name = "TYPE",
          value_parser = choice(&[Precision::F32, Precision::Bf16], Precision::name, about_cache))]
    pub cache: Option<Precision>,
}

fn about_cache(cache: Precision) -> &'static str {
    match cache {
        Precision::F32 => "nothing is rounded",
        Precision::Bf16 => "rounded once, to nearest even",
    }
}

impl ModelArgs {
    /// The model, found and checked, and the variant's name; `pictures` says whether it is shown any. Nothing heavy is done.
    ///
    /// # Errors
    /// A recipe that cannot be used, or was not run; no variant of that name, or several; one that sees no pictures; a folder that holds
    /// nothing to ask.
    pub fn served(&self, pictures: bool, terminal: &Terminal) -> Result<(Served, String), CliError> {
        let (served, variant) = self.found(pictures, terminal)?;
        Ok((self.cache.into_iter().fold(served, Served::with_cache), variant))
    }

    /// What lies in a folder of a model or of a bundle; none where a recipe or a run is given.
    fn in_folder(&self) -> Result<Option<Served>, CliError> {
        let SubjectArgs { recipe, variant, threads, .. } = &self.subject;
        let folder = found(&recipe.recipe)?;
        if !folder.is_dir() || RunDir::open(&folder).is_ok() {
            return Ok(None);
        }
        threads.apply()?;
        let served = Served::in_folder(&folder, &recipe.sets)?;
        match &variant.variant {
            None => Ok(Some(served)),
            Some(name) => Err(CliError::usage(
                format!("{} is one model, and has no variant `{name}`", folder.display()),
                "leave --variant out",
            )),
        }
    }

    fn found(&self, pictures: bool, terminal: &Terminal) -> Result<(Served, String), CliError> {
        if let Some(served) = self.in_folder()? {
            let name = served.name().to_owned();
            if pictures {
                sees_pictures(&name, served.recipe())?;
            }
            return Ok((served, name));
        }
        let SubjectArgs { variant, runs, .. } = &self.subject;
        // A run keeps what it is asked with; weights as published are read with what lies beside them.
        let (loaded, run) =
            if self.untrained { self.subject.load(terminal)? } else { self.subject.to_ask(terminal)? };
        let variant = variant.only(&loaded)?;
        let name = variant.name.clone();
        if pictures {
            sees_pictures(&name, &variant.recipe)?;
        }
        if self.untrained {
            return Ok((Served::untrained(&variant.recipe)?, name));
        }
        let run = match run {
            Some(run) => run,
            None => Runs::below(&runs.out).of_recipe(&loaded)?,
        };
        let dir: VariantDir = run.variant_path(&name).map_err(CliError::failed)?;
        if let Some(told) = unfinished_stage(&dir, &variant.recipe)? {
            terminal.note(&format!("`{name}` is {told}"));
        }
        Ok((Served::trained(&dir, &variant.recipe)?, name))
    }
}

/// How answers are drawn.
#[derive(Debug, Clone, clap::Args)]
pub struct AnswerArgs {
    /// The most tokens of an answer. Default: as many as the variant was evaluated with.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// Draw tokens rather than take the best: logits are divided by this. 0 takes the best.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0)]
    pub temperature: f32,
    /// Draw among so many of the best tokens only. 0 is all.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub top_k: usize,
    /// Draw among the fewest tokens only whose probabilities sum to this.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub top_p: f32,
    /// Draw among tokens only that are at least this times as likely as the best.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub min_p: f32,
    /// Divide the logits of tokens that prompt or answer have by this.
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Take this from the logits of tokens that the answer has.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Take this from the logit of a token for each time that the answer has it.
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// The seed of what is drawn.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// A text that ends an answer and is no part of it; may be given several times.
    #[arg(long = "stop", value_name = "TEXT")]
    pub stop: Vec<String>,
}

impl AnswerArgs {
    /// How tokens are drawn.
    ///
    /// # Errors
    /// A number that cannot be followed.
    pub fn sampling(&self) -> Result<Sampling, CliError> {
        let sampling = Sampling {
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: self.seed,
        };
        sampling.check().map_err(|bad| {
            let option = bad.field.replace('_', "-");
            CliError::usage(bad.to_string(), format!("give another --{option}"))
        })?;
        Ok(sampling)
    }

    /// The most tokens of an answer, where that was said.
    pub fn max_tokens(&self) -> Option<usize> {
        self.max_tokens.map(|tokens| tokens as usize)
    }
}

/// Files of pictures.
#[derive(Debug, Clone, clap::Args)]
pub struct PictureArgs {
    /// A picture, PNG or JPEG; several where the model reads several, in their order.
    #[arg(long = "image", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub images: Vec<PathBuf>,
}

/// Which model is asked about which pictures, and how its answers are drawn.
#[derive(Debug, Clone, clap::Args)]
pub struct AskArgs {
    /// Which model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// What it is shown.
    #[command(flatten)]
    pub pictures: PictureArgs,
    /// How it answers.
    #[command(flatten)]
    pub answers: AnswerArgs,
}

impl AskArgs {
    /// The model, found and checked, and the variant's name.
    ///
    /// # Errors
    /// As [`ModelArgs::served`].
    pub fn served(&self, terminal: &Terminal) -> Result<(Served, String), CliError> {
        self.model.served(!self.pictures.images.is_empty(), terminal)
    }

    /// Where it runs.
    pub fn resources(&self) -> Resources {
        self.model.subject.resources.into()
    }
}
