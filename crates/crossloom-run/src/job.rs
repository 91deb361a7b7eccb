//! What is asked of an experiment.

/// How much of the road is walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Job {
    /// Train, evaluate, compare, report.
    #[default]
    All,
    /// Train only.
    Train,
    /// Evaluate the newest checkpoints of a run that is there, compare, report.
    Evaluate,
}

/// What becomes of work that a run's folder holds already. An evaluation keeps it whatever is said here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entry {
    /// There must be none.
    #[default]
    New,
    /// It is continued.
    Resume,
    /// That of the variants to run is thrown away.
    Replace,
}
