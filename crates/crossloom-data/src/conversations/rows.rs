//! Which samples share a row, and which rows a batch.

use super::{Bucket, Conversation, Drawn, Room};

/// A conversation that waits for its batch.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) drawn: Drawn,
    pub(super) conversation: Conversation,
    /// Tells the order in which samples came.
    number: u64,
}

/// A row that is being filled.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) samples: Vec<Waiting>,
    taken: Room,
}

/// Rows of a batch that is full.
#[derive(Debug)]
pub(super) struct Full {
    /// Which bucket's.
    pub(super) bucket: usize,
    pub(super) rows: Vec<Row>,
}

/// The rows of all buckets that are not handed out yet. A sample goes into the first bucket that holds it, there into the first row with room
/// for it, and into a new one where there is none. A batch is full once all its rows have as many samples as one may have, or once a
/// sample finds no room in it.
#[derive(Debug)]
pub(super) struct Rows {
    samples_per_row: usize,
    /// By bucket.
    open: Vec<Vec<Row>>,
    put: u64,
}

impl Rows {
    pub(super) fn new(buckets: usize, samples_per_row: usize) -> Self {
        Self { samples_per_row: samples_per_row.max(1), open: vec![Vec::new(); buckets], put: 0 }
    }

    /// Adds a sample; a batch that is full by that is taken out. A sample that no bucket holds, which no reader gives, is left out.
    pub(super) fn put(
        &mut self,
        buckets: &[Bucket],
        drawn: Drawn,
        conversation: Conversation,
    ) -> Option<Full> {
        let needs = conversation.needs;
        let (bucket, of) = buckets.iter().enumerate().find(|(_, bucket)| bucket.room.holds(needs))?;
        let (room, most) = (of.room, of.plan.batch_size);
        let open = self.open.get_mut(bucket)?;
        let sample = Waiting { drawn, conversation, number: self.put };
        self.put += 1;
        let closed = |row: &Row| row.samples.len() == self.samples_per_row;
        let row = open.iter_mut().find(|row| !closed(row) && room.holds(row.taken.and(needs)));
        let before = match row {
            Some(row) => {
                row.push(sample);
                None
            }
            None => {
                let before = (open.len() == most).then(|| std::mem::take(open));
                let mut row = Row::default();
                row.push(sample);
                open.push(row);
                before
            }
        };
        // Where the sample found no room, at least one row of the batch before was not closed: rows of one sample never are.
        let rows = match before {
            None if open.len() == most && open.iter().all(closed) => Some(std::mem::take(open)),
            before => before,
        };
        rows.map(|rows| Full { bucket, rows })
    }

    /// The samples that wait, in the order in which they came. Put into empty rows in that order, they stand as they do here.
    pub(super) fn waiting(&self) -> Vec<Drawn> {
        let waiting = self.open.iter().flatten().flat_map(|row| &row.samples);
        let mut waiting: Vec<(u64, Drawn)> = waiting.map(|sample| (sample.number, sample.drawn)).collect();
        waiting.sort_unstable_by_key(|(number, _)| *number);
        waiting.into_iter().map(|(_, drawn)| drawn).collect()
    }
}

impl Row {
    fn push(&mut self, sample: Waiting) {
        self.taken = self.taken.and(sample.conversation.needs);
        self.samples.push(sample);
    }
}
