//! Which samples of two runs belong together.

use std::collections::BTreeMap;

use super::CompareError;
use crate::samples::SampleRecord;

/// What each of two runs made of a sample.
pub(super) type Pair<'a> = (&'a SampleRecord, &'a SampleRecord);

/// The records of a run under the name of its column.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) records: &'a [SampleRecord],
}

/// Pairs of records of the same question, in the order of the first run.
pub(super) fn align<'a>(first: Named<'a>, second: Named<'a>) -> Result<Vec<Pair<'a>>, CompareError> {
    let index = |run: Named<'a>| -> Result<BTreeMap<&'a str, &'a SampleRecord>, CompareError> {
        let mut by_id = BTreeMap::new();
        for record in run.records {
            if by_id.insert(record.id.as_str(), record).is_some() {
                return Err(CompareError::Repeated { run: run.name.to_owned(), id: record.id.clone() });
            }
        }
        Ok(by_id)
    };
    let (first_by_id, second_by_id) = (index(first)?, index(second)?);
    let missing = |from: &BTreeMap<&str, &SampleRecord>, run: Named<'_>| -> Vec<String> {
        run.records
            .iter()
            .filter(|record| !from.contains_key(record.id.as_str()))
            .map(|r| r.id.clone())
            .collect()
    };
    let (only_first, only_second) = (missing(&second_by_id, first), missing(&first_by_id, second));
    if !only_first.is_empty() || !only_second.is_empty() {
        let (first, second) = (first.name.to_owned(), second.name.to_owned());
        return Err(CompareError::Samples { first, second, only_first, only_second });
    }
    let pairs: Vec<Pair<'a>> = (first.records.iter())
        .filter_map(|record| Some((record, *second_by_id.get(record.id.as_str())?)))
        .collect();
    let mut differing = pairs.iter().filter_map(|(a, b)| Some((&a.id, asked_otherwise(a, b)?)));
    if let Some((id, (what, values))) = differing.next() {
        let (first, second, id) = (first.name.to_owned(), second.name.to_owned(), id.clone());
        let differing = 1 + differing.count();
        return Err(CompareError::Questions { first, second, differing, id, what, values });
    }
    Ok(pairs)
}

/// What two records of one id were asked differently, if anything, and what it is in one and in the other.
fn asked_otherwise(a: &SampleRecord, b: &SampleRecord) -> Option<(&'static str, String)> {
    let truth = |record: &SampleRecord| record.truth.join(" or ");
    [
        ("picture", a.image.clone(), b.image.clone()),
        ("question", a.question.clone(), b.question.clone()),
        ("type", a.kind.clone(), b.kind.clone()),
        ("reference answer", truth(a), truth(b)),
    ]
    .into_iter()
    .find(|(_, a, b)| a != b)
    .map(|(what, a, b)| (what, format!("`{a}` in one and `{b}` in the other")))
}
