//! `config.json`: values by key, with everything that is wrong collected.

use std::cell::RefCell;

use serde_json::{Map, Value};

/// The most that a dimension may be: what is above is a damaged file, not a model.
const MOST: u64 = 1 << 24;

/// A table of a configuration. Whoever asks for a key that is wrong gets a number that stands for it and leaves a problem
/// behind: the caller gives up once all was asked.
#[derive(Clone)]
pub(crate) struct Config<'a> {
    /// Keys on the way here, each with a dot behind it.
    at: String,
    values: &'a Map<String, Value>,
    problems: &'a RefCell<Vec<String>>,
}

impl<'a> Config<'a> {
    pub(crate) fn new(values: &'a Map<String, Value>, problems: &'a RefCell<Vec<String>>) -> Self {
        Self { at: String::new(), values, problems }
    }

    pub(crate) fn problem(&self, problem: String) {
        self.problems.borrow_mut().push(problem);
    }

    fn wrong(&self, key: &str, wanted: &str) {
        let found =
            self.values.get(key).map_or_else(|| "is missing".to_owned(), |value| format!("is {value}"));
        self.problem(format!("`{}{key}` {found}, {wanted} is expected", self.at));
    }

    /// A value that is there and not null.
    fn value(&self, key: &str) -> Option<&'a Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// A dimension, at least 1; absent: the default of the family.
    pub(crate) fn count(&self, key: &str, default: Option<usize>) -> usize {
        let given = match self.value(key) {
            None => default,
            Some(value) => {
                let number = value.as_u64().filter(|number| (1..=MOST).contains(number));
                number.and_then(|number| usize::try_from(number).ok())
            }
        };
        given.unwrap_or_else(|| {
            self.wrong(key, "a number from 1 to 16777216");
            1
        })
    }

    /// A positive finite number; absent: the default of the family.
    pub(crate) fn number(&self, key: &str, default: f64) -> f64 {
        let Some(value) = self.value(key) else { return default };
        match value.as_f64().filter(|number| number.is_finite() && *number > 0.0) {
            Some(number) => number,
            None => {
                self.wrong(key, "a number above 0");
                default
            }
        }
    }

    /// A choice; absent: the default of the family.
    pub(crate) fn flag(&self, key: &str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.wrong(key, "`true` or `false`");
            default
        })
    }

    /// A word; absent: the default of the family.
    pub(crate) fn word(&self, key: &str, default: Option<&'a str>) -> &'a str {
        let given = match self.value(key) {
            None => default,
            Some(value) => value.as_str(),
        };
        given.unwrap_or_else(|| {
            self.wrong(key, "a string");
            ""
        })
    }

    /// Layers counted from the first hidden state, or from behind where negative; one, or a list of them.
    pub(crate) fn layers(&self, key: &str, default: i64) -> Vec<i64> {
        let numbers = match self.value(key) {
            None => Some(vec![default]),
            Some(Value::Array(list)) => list.iter().map(Value::as_i64).collect(),
            Some(value) => value.as_i64().map(|number| vec![number]),
        };
        numbers.filter(|numbers| !numbers.is_empty()).unwrap_or_else(|| {
            self.wrong(key, "a layer or a list of layers");
            vec![default]
        })
    }

    /// A whole number, which may count from behind; absent: the default of the family.
    pub(crate) fn index(&self, key: &str, default: i64) -> i64 {
        let Some(value) = self.value(key) else { return default };
        value.as_i64().unwrap_or_else(|| {
            self.wrong(key, "a whole number");
            default
        })
    }

    /// A list of whole numbers; absent: the default of the family.
    pub(crate) fn numbers(&self, key: &str, default: &[i64]) -> Vec<i64> {
        let numbers = match self.value(key) {
            None => return default.to_vec(),
            Some(Value::Array(list)) => list.iter().map(Value::as_i64).collect(),
            Some(_) => None,
        };
        numbers.unwrap_or_else(|| {
            self.wrong(key, "a list of whole numbers");
            Vec::new()
        })
    }

    /// A list of pairs of whole numbers, which must be there.
    pub(crate) fn pairs(&self, key: &str) -> Vec<[i64; 2]> {
        let pair = |value: &Value| {
            let numbers: Option<Vec<i64>> = value.as_array()?.iter().map(Value::as_i64).collect();
            <[i64; 2]>::try_from(numbers?).ok()
        };
        let pairs = self.value(key).and_then(Value::as_array).map(|list| list.iter().map(pair).collect());
        pairs.flatten().unwrap_or_else(|| {
            self.wrong(key, "a list of pairs of whole numbers");
            Vec::new()
        })
    }

    /// A table within.
    pub(crate) fn table(&self, key: &str) -> Option<Config<'a>> {
        let Some(Value::Object(values)) = self.value(key) else {
            self.wrong(key, "a table");
            return None;
        };
        Some(Config { at: format!("{}{key}.", self.at), values, problems: self.problems })
    }

    /// A table within, if there is one.
    pub(crate) fn table_if_there(&self, key: &str) -> Option<Config<'a>> {
        self.value(key).and_then(|_| self.table(key))
    }

    /// Refuses a setting that would change what the model computes in a way that is not built.
    pub(crate) fn must_be(&self, key: &str, supported: &Value) {
        if let Some(value) = self.value(key)
            && value != supported
        {
            self.problem(format!("`{}{key}` is {value}; only {supported} is supported", self.at));
        }
    }
}
