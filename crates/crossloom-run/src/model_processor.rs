//! What a pretrained model reads: pictures, texts and conversations, as its publisher's processor prepares them.
//!
//! A folder has an image processor (`preprocessor_config.json`, or the `image_processor` of a `processor_config.json`), a tokenizer
//! (`tokenizer.json`, with the texts of special tokens in `tokenizer_config.json`) and a chat template (`chat_template.jinja`,
//! `chat_template.json`, or in one of the two configurations); a GGUF file has the last two. What a folder lacks cannot be asked of it.

mod folder;

use std::ops::Range;
use std::path::Path;

use crossloom_data::chat::{ChatFormat, ChatTemplate, Message, Part, Turns, check_images, expand_images};
use crossloom_data::image::{Image, ImageProcessor, Processed, ProcessorFamily, VisualLayout};
use crossloom_data::tokenizer::{ChatTokenizer, PublishedTokenizer};
use crossloom_recipe::{AnyRes, Recipe};

use crate::ExperimentError;

/// The processor of a pretrained model.
#[derive(Debug)]
pub struct ModelProcessor {
    pictures: Option<Pictures>,
    tokenizer: Option<PublishedTokenizer>,
    /// How it writes conversations: what it was made of, and the template.
    chat: Option<(ChatFormat, ChatTemplate)>,
    image_token: Option<i32>,
}

/// How pictures become visual tokens.
#[derive(Debug)]
struct Pictures {
    processor: ImageProcessor,
    /// Pixels along a side of a patch.
    patch: usize,
    /// So many tiles' worth of tokens are the most, where pictures are cut into tiles.
    most_tiles: Option<usize>,
}

/// A picture as a model reads it, and what its visual tokens are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedPicture {
    /// What the encoder is given.
    pub processed: Processed,
    /// What every visual token is made of. It is the same for the features of all taps.
    pub layout: VisualLayout,
}

/// A conversation as a model reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// As the chat template wrote it, a placeholder for every picture.
    pub text: String,
    /// Token ids; the image token once for every visual token.
    pub ids: Vec<i32>,
    /// The positions of every picture.
    pub places: Vec<Range<usize>>,
    /// The pictures, in their order.
    pub pictures: Vec<PreparedPicture>,
}

impl ModelProcessor {
    /// Reads the processor of a folder or of a GGUF file. Weights are not read.
    ///
    /// # Errors
    /// Files that cannot be read or followed; a tokenizer with more ids than the embedding has rows.
    pub fn open(path: &Path) -> Result<Self, ExperimentError> {
        folder::open(path)
    }

    /// The tokenizer, if there is one.
    pub fn tokenizer(&self) -> Option<&PublishedTokenizer> {
        self.tokenizer.as_ref()
    }

    /// The image processor, if there is one.
    pub fn images(&self) -> Option<&ImageProcessor> {
        self.pictures.as_ref().map(|pictures| &pictures.processor)
    }

    /// The tiles that pictures are cut into; none where they are read whole, or where the grids are not all up to a square one.
    pub(crate) fn tiles(&self) -> Option<AnyRes> {
        self.pictures.as_ref()?.anyres()
    }

    /// Its tokenizer and its chat template as what cuts a data set's questions and answers; `path` is where it was read.
    ///
    /// # Errors
    /// It lacks one of the two; a template that data cannot be laid out by.
    pub fn chat_tokenizer(self, path: &Path) -> Result<ChatTokenizer, ExperimentError> {
        let tokenizer = self.tokenizer.ok_or_else(|| lacks("tokenizer", "tokenizer.json"))?;
        let (format, _) = self.chat.ok_or_else(|| lacks("chat template", "chat_template.jinja"))?;
        let made = ChatTokenizer::new(tokenizer, format);
        made.map_err(|error| ExperimentError::File { path: path.to_owned(), message: error.to_string() })
    }

    /// Whether this processor makes of pictures what the rows of a recipe's model have: the same tiles with the same limit, or whole pictures.
    ///
    /// # Errors
    /// What differs, and what the recipe would say.
    pub fn agrees(&self, recipe: &Recipe) -> Result<(), ExperimentError> {
        let vision = &recipe.model.vision;
        let of_model = self.pictures.as_ref().filter(|of| of.ends_rows());
        let (message, help) = match (of_model, vision.anyres) {
            (None, None) => return Ok(()),
            (None, Some(_)) => (
                "model.vision.anyres is set, and the image processor of the model cuts no picture into tiles"
                    .to_owned(),
                "remove model.vision.anyres".to_owned(),
            ),
            (Some(of), anyres) => match of.anyres() {
                Some(own) if anyres == Some(own) => return Ok(()),
                Some(AnyRes { side, most_tiles }) => (
                    "the image processor of the model cuts pictures into other tiles than the recipe says"
                        .to_owned(),
                    format!("write model.vision.anyres = {{ side = {side}, most_tiles = {most_tiles} }}"),
                ),
                None => (
                    "the image processor of the model does not have all grids of tiles up to a square one"
                        .to_owned(),
                    "list in its image_grid_pinpoints all grids from 1 by 1 to n by n".to_owned(),
                ),
            },
        };
        Err(ExperimentError::request(message, help))
    }

    /// What is learned of a conversation, turn by turn. Where the model has no token for a picture, its pictures are left out.
    ///
    /// # Errors
    /// There is no tokenizer or no chat template; what [`Turns::new`] refuses.
    pub fn turns(&self, messages: &[Message]) -> Result<Turns, ExperimentError> {
        let tokenizer = self.tokenizer.as_ref().ok_or_else(|| lacks("tokenizer", "tokenizer.json"))?;
        let (_, template) =
            self.chat.as_ref().ok_or_else(|| lacks("chat template", "chat_template.jinja"))?;
        if self.image_token.is_some() {
            return Ok(Turns::new(template, tokenizer, messages)?);
        }
        let mut words = messages.to_vec();
        for message in &mut words {
            message.content.retain(|part| !matches!(part, Part::Image {}));
        }
        Ok(Turns::new(template, tokenizer, &words)?)
    }

    /// The pictures of one conversation as the encoder reads them.
    ///
    /// # Errors
    /// There is no image processor; a picture of a shape that it cannot take.
    pub fn pictures(&self, pictures: Vec<Image>) -> Result<Vec<PreparedPicture>, ExperimentError> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let Some(of) = &self.pictures else {
            return Err(ExperimentError::request(
                "the model has no image processor",
                "add the preprocessor_config.json of its publisher to the folder",
            ));
        };
        let processed = of.processor.process_all(pictures)?;
        processed.into_iter().map(|processed| of.prepared(processed)).collect()
    }

    /// A conversation with its pictures, in the order in which its messages show them, up to where the model goes on: behind a user's
    /// message that is where an answer begins. `sample` is what errors call it.
    ///
    /// # Errors
    /// As [`ModelProcessor::pictures`]; there is no tokenizer or no chat template, or it fails; placeholders and pictures that do not agree.
    pub fn conversation(
        &self,
        sample: &str,
        messages: &[Message],
        pictures: Vec<Image>,
    ) -> Result<Prepared, ExperimentError> {
        let tokenizer = self.tokenizer.as_ref().ok_or_else(|| lacks("tokenizer", "tokenizer.json"))?;
        let (_, template) =
            self.chat.as_ref().ok_or_else(|| lacks("chat template", "chat_template.jinja"))?;
        let answer = messages.last().is_some_and(|last| last.role != "assistant");
        let text = template.render(messages, answer)?;
        // The template has written what begins and ends a text.
        let ids = tokenizer.encode(&text, false)?;
        let pictures = self.pictures(pictures)?;
        let counts: Vec<usize> = pictures.iter().map(|picture| picture.layout.tokens()).collect();
        let (ids, places) = match self.image_token {
            Some(image) => {
                let expanded = expand_images(&ids, image, &counts, sample)?;
                check_images(&expanded.ids, image, counts.iter().sum(), sample)?;
                (expanded.ids, expanded.images)
            }
            None if pictures.is_empty() => (ids, Vec::new()),
            None => return Err(lacks("token for a picture", "tokenizer.json")),
        };
        Ok(Prepared { text, ids, places, pictures })
    }
}

impl Pictures {
    /// Whether a learned token ends rows of a picture's tokens.
    fn ends_rows(&self) -> bool {
        self.processor.family() == ProcessorFamily::LlavaOnevision
    }

    /// Its tiles as a recipe says them; none where the grids are not all up to a square one.
    fn anyres(&self) -> Option<AnyRes> {
        let (tiles, tile) = (self.processor.tiles()?, self.processor.size()?.width);
        let most_tiles = self.most_tiles?;
        let mut grids: Vec<(u32, u32)> =
            tiles.grids().iter().map(|grid| (grid.height / tile, grid.width / tile)).collect();
        grids.sort_unstable();
        grids.dedup();
        let side = grids.last()?.0;
        let all = (1..=side).flat_map(|rows| (1..=side).map(move |columns| (rows, columns)));
        grids.into_iter().eq(all).then_some(AnyRes { side: side as usize, most_tiles })
    }

    fn prepared(&self, processed: Processed) -> Result<PreparedPicture, ExperimentError> {
        let size = processed.pictures.first().map(Image::size);
        let patches = |side: u32| side as usize / self.patch;
        let (rows, columns) = size.map_or((0, 0), |size| (patches(size.height), patches(size.width)));
        let layout = match (processed.grid, self.processor.family()) {
            (None, ProcessorFamily::LlavaOnevision) => VisualLayout::base_alone(rows),
            (None, _) => VisualLayout::whole(rows * columns),
            (Some(grid), _) => {
                let most = self.most_tiles.unwrap_or_else(|| grid.tiles());
                VisualLayout::tiled(processed.original, grid, rows, most)?
            }
        };
        Ok(PreparedPicture { processed, layout })
    }
}

fn lacks(what: &str, file: &str) -> ExperimentError {
    ExperimentError::request(
        format!("the model has no {what}"),
        format!("add the {file} of its publisher to the folder"),
    )
}
