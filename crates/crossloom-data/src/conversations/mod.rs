//! Training samples as an endless stream of batches: conversations of any number of turns and pictures, read while they are trained on.
//!
//! ```text
//! Sources ─▶ MixtureSampler ─▶ ConversationReader ─▶ rows of a Bucket ─▶ PackedBatch
//! (index)    which sample      tokens and views      what shares a row   arrays
//!                              on worker threads     in the order drawn
//! ```
//!
//! In memory are the index of the samples ([`Records`](crate::records::Records)), their order in this epoch (4 bytes each), and a bounded
//! number of samples that are read ahead; nothing else grows with the data. What is drawn, and what shares a batch, depends on the seed
//! alone: samples are taken in the order in which they were drawn, however long a thread took for one.
//!
//! A row holds one conversation, or several ([`StreamOptions::samples_per_row`]) that do not see each other: each is a segment of its own, its
//! pictures included, and begins at rotary position 0. The loss is that of all answers with their ends, turn by turn.
//!
//! Rows have the length of one of a few *buckets*. A sample goes into the shortest that holds it, and a batch is handed out once a bucket has
//! all its rows, so that samples of like length share a batch. A sample that no bucket holds loses whole turns from its end; one whose first
//! turn does not fit is left out. Both are counted, and an error beyond a stated limit.

mod ahead;
mod bucket;
mod error;
mod lay;
mod mixture;
mod pictures;
mod reader;
mod rows;
mod stream;
mod survey;

pub use bucket::{Bucket, Room};
pub use error::ConversationError;
pub use lay::{Begun, PromptLayer};
pub use mixture::{Drawn, MixtureSampler, MixtureState, Source};
pub use pictures::PictureReader;
pub use reader::{Conversation, ConversationReader, Shown};
pub use stream::{ConversationBatch, ConversationStream, Counts, StreamOptions, StreamState};
pub use survey::Survey;
